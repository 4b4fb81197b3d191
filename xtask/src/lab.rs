use anyhow::Result;
use clap::Subcommand;
use testkit::{Addresses, Lab, Netns};

/// The name of the lab that stays.
const NAME: &str = "lab";
const PREFIX: &str = "rauta-lab";

/// What to do with the lab.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the namespaces: client, client2, gateway and endpoints.
    Up {
        /// How many endpoints.
        #[arg(long, default_value_t = 3)]
        backends: u8,
        /// The MTU of every interface.
        #[arg(long, default_value_t = 1500)]
        mtu: u16,
    },
    /// Take everything away again, with whatever runs in it.
    Down,
    /// Say whether it is up, and how to enter it.
    Status,
}

/// Makes, shows or removes the lab.
pub(crate) fn run(command: &Command) -> Result<()> {
    match *command {
        Command::Up { backends, mtu } => {
            if Netns::open(&format!("{PREFIX}-gateway")).is_ok() {
                println!("The lab is up already (`./x lab down` takes it away).\n");
            } else {
                Lab::builder().named(NAME).backends(backends).mtu(mtu).build()?;
            }
            print!("{}", guide());
        }
        Command::Down => {
            let was_there = Lab::remove(PREFIX)?;
            println!("{}", if was_there { "The lab is gone." } else { "There was no lab." });
        }
        Command::Status => match Netns::open(&format!("{PREFIX}-gateway")) {
            Ok(_) => print!("{}", guide()),
            Err(_) => println!("The lab is down (`./x lab up` makes it)."),
        },
    }
    Ok(())
}

fn guide() -> String {
    format!(
        "The lab is up:

  client   {client} ─┐                                  ┌─ b0  {b0}
                      ├─ {front} gateway {back} ─┼─ b1  {b1}
  client2  {client2} ─┘   front0            back0      └─ b2  …

Try, each in a terminal of its own:

  ip netns exec {PREFIX}-b0 rauta echo --listen {b0}:8080 --name b0
  ip netns exec {PREFIX}-gateway rauta run -f examples/quickstart
  ip netns exec {PREFIX}-client curl -i -H 'Host: shop.example' http://{front}:8080/

Programs that make namespaces of their own: nsenter --net=/run/netns/{PREFIX}-gateway PROGRAM
Enter one with a shell: ip netns exec {PREFIX}-client bash
",
        client = Addresses::client(0),
        client2 = Addresses::client(1),
        front = Addresses::GATEWAY,
        back = Addresses::GATEWAY_BACK,
        b0 = Addresses::backend(0),
        b1 = Addresses::backend(1),
    )
}
