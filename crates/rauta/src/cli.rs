//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use api::v1::Header;
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
    /// List the rules that the running agent serves
    Routes(OutputArgs),
    /// List backends with their endpoints and what those have done
    Backends(OutputArgs),
    /// Explain a decision
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Look at this machine: what the kernel offers, what would be used, how to mend what is missing
    Doctor(DoctorArgs),
    /// Run a small HTTP backend to try things with
    Echo(EchoArgs),
    /// Show a gateway at work, in this process, on loopback
    Demo,
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
    /// Take objects from the cluster's API server
    #[arg(long, conflicts_with = "files")]
    pub(crate) kubernetes: bool,
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
    /// Interfaces to look at [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) interfaces: Vec<String>,
    /// table, wide or json
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainCommand {
    /// Which rule a request takes, and which endpoints may get it
    Request(ExplainRequestArgs),
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
        match self.request.as_slice() {
            [method, url] => (method, url),
            [url, ..] => ("GET", url),
            [] => ("GET", ""),
        }
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
