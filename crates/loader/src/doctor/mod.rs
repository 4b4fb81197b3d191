//! What this machine offers, asked of the machine itself: features are tried, never derived from a version.
//!
//! Every check also works without privileges; it then says what it could not see.

mod capability;
mod choice;
pub(crate) mod filters;
mod helper;
mod hook;
mod interface;
mod kernel;
mod mounts;
pub(crate) mod nftables;
mod policy;
mod probe;
mod report;
mod sysctl;

pub use report::{Report, Row, State};

use crate::Options;

/// Looks at everything RAUTA uses or will use, as it would be started with `options`.
///
/// Loads and drops small programs to see what the kernel accepts; attaches nothing to any interface.
pub fn checks(options: &Options) -> Report {
    let interfaces = &options.interfaces;
    let mut report = Report::default();
    kernel::check(&mut report);
    capability::check(&mut report);
    mounts::check(&mut report);
    let hooks = hook::check(&mut report);
    helper::check(&mut report);
    sysctl::check(&mut report);
    interface::check(&mut report, interfaces);
    policy::check(&mut report, interfaces);
    choice::check(&mut report, &hooks, options);
    report
}
