//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use api::v1::{Header, NewRequest};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::output::Output;
use crate::settings::flags::SettingsFlags;

/// Kubernetes ingress and Gateway API data plane: answers in the kernel when it can, in userspace when it must.
#[derive(Debug, Parser)]
#[command(name = "rauta", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The agent's control socket [default: /run/rauta/rauta.sock; as a user $XDG_RUNTIME_DIR/rauta.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent
    Run(RunArgs),
    /// Check manifests and say what would be served
    Check(CheckArgs),
    /// Show what the running agent does
    Status(OutputArgs),
    /// End with 0 if the agent takes traffic; in a Pod: if it is this Pod's agent
    Ready,
    /// List the rules that the running agent serves
    Routes(OutputArgs),
    /// List backends with their endpoints and what those have done
    Backends(OutputArgs),
    /// List the connections that the kernel carries
    Flows(FlowsArgs),
    /// Count what the kernel dropped, held, handed off, passed and did, by reason
    Drops(DropsArgs),
    /// Show what the kernel does with requests as they come
    Trace(TraceArgs),
    /// Explain a decision
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Look at this machine: what the kernel offers, what would be used, how to mend what is missing
    Doctor(DoctorArgs),
    /// Remove kernel programs that an agent left behind
    Detach(DetachArgs),
    /// Say what becomes of manifests that were written for something else
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Run a small HTTP backend to try things with
    Echo(EchoArgs),
    /// Show a gateway at work, in this process, on loopback
    Demo,
    /// Wait for SIGTERM or SIGINT: what an agent becomes with `run --linger`
    #[command(hide = true)]
    Linger,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Kubernetes YAML to serve: files or folders, watched for changes
    #[arg(short = 'f', long = "files", value_name = "PATH", num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Take objects from a cluster's API server
    #[arg(long, conflicts_with = "files")]
    pub(crate) kubernetes: bool,
    /// Take over from the agent at work behind the same control socket: its listening sockets and kernel programs, so that no
    /// connection is refused; that one drains and ends. Starts as usual where there is none
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// When another agent has taken over, wait for SIGTERM instead of ending: for those that start again what ends, as a kubelet does
    #[arg(long)]
    pub(crate) linger: bool,
    /// Print the settings that would be used, with where each comes from, and end
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Files or folders of Kubernetes YAML
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainCommand {
    /// Which rule a request takes, and which endpoints may get it
    Request(Box<ExplainRequestArgs>),
    /// What the kernel knows of a connection, or would do with a new one
    Flow(ExplainFlowArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// What becomes of annotations of ingress-nginx: the same, different, missing
    IngressNginx(MigrateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    /// Files or folders of Kubernetes YAML; `-` is standard input
    #[arg(required_unless_present = "kubernetes", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Read the Ingresses of a cluster's API server
    #[arg(long, conflicts_with = "paths")]
    pub(crate) kubernetes: bool,
    /// How --kubernetes reaches it [default: as a Pod, or by $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Only those of this namespace [default: of all]
    #[arg(short, long, requires = "kubernetes")]
    pub(crate) namespace: Option<String>,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct FlowsArgs {
    /// Only those of this client: an address, with or without a port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<String>,
    /// Only those on a leg to this endpoint: an address, with or without a port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) endpoint: Option<String>,
    /// At most so many, the last used first; 0: all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u32,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DropsArgs {
    /// Look again every second, and show what came since
    #[arg(long)]
    pub(crate) watch: bool,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TraceArgs {
    /// One event in so many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) one_in: u32,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// table, wide or json (one object a line)
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainFlowArgs {
    /// The client's address and port, as 198.51.100.7:40000 or [2001:db8::7]:40000; with a URL the port may be left out
    #[arg(value_name = "CLIENT")]
    pub(crate) client: String,
    /// The address and port that it dialled
    #[arg(value_name = "VIP")]
    pub(crate) vip: String,
    /// [METHOD] URL: a new connection with this request first; a path is enough
    #[arg(num_args = 1..=2, value_names = ["METHOD", "URL"])]
    pub(crate) request: Vec<String>,
    /// A header of it, as 'x-version: 2'; Host overrides the URL's
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header, requires = "request")]
    pub(crate) headers: Vec<Header>,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainRequestArgs {
    /// [METHOD] URL, as GET http://shop.example:8080/cart?a=1; without a method: GET
    #[arg(required = true, num_args = 1..=2, value_names = ["METHOD", "URL"])]
    pub(crate) request: Vec<String>,
    /// A header, as 'x-version: 2'; Host overrides the URL's
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<Header>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
    /// Ask these manifests instead of the running agent
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
}

impl ExplainRequestArgs {
    /// Method and URL.
    pub(crate) fn method_and_url(&self) -> (&str, &str) {
        method_and_url(&self.request)
    }
}

impl ExplainFlowArgs {
    /// The request of a new connection, if one is asked about.
    pub(crate) fn new_request(&self) -> Option<NewRequest> {
        if self.request.is_empty() {
            return None;
        }
        let (method, url) = method_and_url(&self.request);
        Some(NewRequest { method: method.to_owned(), url: url.to_owned(), headers: self.headers.clone() })
    }
}

fn method_and_url(words: &[String]) -> (&str, &str) {
    match words {
        [method, url] => (method, url),
        [url, ..] => ("GET", url),
        [] => ("GET", ""),
    }
}

#[derive(Args, Debug)]
pub(crate) struct EchoArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub(crate) listen: SocketAddr,
    /// The endpoint's name in answers [default: the address]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

fn header(text: &str) -> Result<Header, &'static str> {
    let (name, value) = text.split_once(':').ok_or("should be 'NAME: VALUE'")?;
    Ok(Header { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn error(args: &[&str]) -> ErrorKind {
        Cli::try_parse_from([&["rauta"], args].concat()).map(|cli| panic!("{cli:?}")).unwrap_err().kind()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!(error(&["check"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(error(&["rnu"]), ErrorKind::InvalidSubcommand);
        assert_eq!(error(&["status", "-o", "xml"]), ErrorKind::InvalidValue);
        assert_eq!(error(&["run", "--kubernetes", "-f", "x"]), ErrorKind::ArgumentConflict);
        assert_eq!(error(&["run", "--set", "nothing=1"]), ErrorKind::ValueValidation);
        assert_eq!(error(&["explain", "request", "GET", "/", "more"]), ErrorKind::TooManyValues);
        assert_eq!(error(&["explain", "request", "/", "-H", "no colon"]), ErrorKind::ValueValidation);
        assert_eq!(error(&["explain", "request", "/", "--client", "me"]), ErrorKind::ValueValidation);
        assert_eq!(error(&["explain", "flow", "192.0.2.1:1"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(
            error(&["explain", "flow", "192.0.2.1:1", "192.0.2.2:80", "-H", "a: b"]),
            ErrorKind::MissingRequiredArgument
        );
        assert_eq!(error(&["trace", "--one-in", "0"]), ErrorKind::ValueValidation);
        assert_eq!(error(&["trace", "--seconds", "soon"]), ErrorKind::ValueValidation);
        assert_eq!(error(&["flows", "--limit", "-1"]), ErrorKind::UnknownArgument);
        assert_eq!(error(&["migrate", "ingress-nginx"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(error(&["migrate", "ingress-nginx", "--kubernetes", "x"]), ErrorKind::ArgumentConflict);
        assert_eq!(error(&["migrate", "ingress-nginx", "-n", "a"]), ErrorKind::MissingRequiredArgument);
        assert_eq!(error(&["echo", "--listen", "nowhere"]), ErrorKind::ValueValidation);
    }

    #[test]
    fn a_method_may_stand_before_the_url() {
        let parse =
            |args: &[&str]| match Cli::try_parse_from([&["rauta", "explain", "request"], args].concat()) {
                Ok(Cli { command: Command::Explain(ExplainCommand::Request(args)), .. }) => args,
                other => panic!("{other:?}"),
            };
        assert_eq!(parse(&["/a"]).method_and_url(), ("GET", "/a"));
        let args = parse(&["PUT", "/a", "-H", "X-A:  b: c ", "--client", "::1"]);
        assert_eq!(args.method_and_url(), ("PUT", "/a"));
        assert_eq!((args.headers[0].name.as_str(), args.headers[0].value.as_str()), ("X-A", "b: c"));
    }
}
