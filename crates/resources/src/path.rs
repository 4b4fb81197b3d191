use std::fmt;

/// The path of a field within an object, as Kubernetes prints it: `spec.rules[0].backendRefs[1].name`,
/// `metadata.annotations[rauta.io/tier]`.
///
/// A linked list on the stack: nothing is allocated before a path is printed.
#[derive(Clone, Copy, Debug)]
pub enum FieldPath<'a> {
    /// The object itself.
    Root,
    /// A field of it.
    Field(&'a FieldPath<'a>, &'a str),
    /// An item of a list.
    Index(&'a FieldPath<'a>, usize),
}

impl FieldPath<'_> {
    /// The path of field `name` below this one.
    pub fn field<'b>(&'b self, name: &'b str) -> FieldPath<'b> {
        FieldPath::Field(self, name)
    }

    /// The path of item `index` (from 0) below this one.
    pub fn index(&self, index: usize) -> FieldPath<'_> {
        FieldPath::Index(self, index)
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Field(parent, name) => {
                let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                match (parent, is_plain) {
                    (FieldPath::Root, true) => f.write_str(name),
                    (_, true) => write!(f, "{parent}.{name}"),
                    (_, false) => write!(f, "{parent}[{name}]"),
                }
            }
        }
    }
}

impl From<FieldPath<'_>> for String {
    fn from(path: FieldPath<'_>) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_kubernetes_prints_them() {
        let root = FieldPath::Root;
        let metadata = root.field("metadata");
        let annotations = metadata.field("annotations");
        assert_eq!(annotations.field("rauta.io/tier").to_string(), "metadata.annotations[rauta.io/tier]");
        let spec = root.field("spec");
        let rules = spec.field("rules");
        assert_eq!(rules.index(3).field("name").to_string(), "spec.rules[3].name");
        assert_eq!(root.to_string(), "");
    }
}
