//! What tests leave out of a kernel that has it: `RAUTA_PRETEND_WITHOUT`, a list of `tcx` and `kernel-functions`.
//!
//! No setting: whoever runs a gateway has no use for it, so that no list of settings shows it.

/// The variable.
pub(super) const VARIABLE: &str = "RAUTA_PRETEND_WITHOUT";

/// `options` without what the variable names.
pub(super) fn older(options: loader::Options) -> loader::Options {
    without(options, &std::env::var(VARIABLE).unwrap_or_default())
}

fn without(options: loader::Options, list: &str) -> loader::Options {
    let lacks = |name| list.split(',').any(|item| item.trim() == name);
    let (tcx, functions) = (!lacks("tcx"), !lacks("kernel-functions"));
    loader::Options {
        tcx: options.tcx && tcx,
        kernel_functions: options.kernel_functions && functions,
        ..options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_left_out() {
        let left = |list| {
            let options = without(loader::Options::default(), list);
            (options.tcx, options.kernel_functions)
        };
        assert_eq!(left(""), (true, true));
        assert_eq!(left("tcx"), (false, true));
        assert_eq!(left("kernel-functions, tcx"), (false, false));
        assert_eq!(left("btf"), (true, true));
    }
}
