//! One file per command.

pub(crate) mod ask;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod detach;
pub(crate) mod doctor;
pub(crate) mod echo;
pub(crate) mod explain;
pub(crate) mod kernel;
pub(crate) mod linger;
pub(crate) mod migrate;
pub(crate) mod ready;
pub(crate) mod run;
