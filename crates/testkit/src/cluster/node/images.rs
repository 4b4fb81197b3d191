//! Which local program stands for an image.

use std::path::{Path, PathBuf};

/// Programs by the name of their image: without registry, tag and digest, `echo-basic` or `rauta`.
#[derive(Clone, Debug, Default)]
pub struct Images {
    programs: Vec<(String, PathBuf)>,
}

impl Images {
    /// `program` is the entry point of every image whose last part is `name`.
    #[must_use]
    pub fn with(mut self, name: &str, program: impl AsRef<Path>) -> Self {
        self.programs.push((name.to_owned(), program.as_ref().to_owned()));
        self
    }

    /// The program for `image`, such as `registry.example:5000/team/echo-basic:v1@sha256:…`.
    pub(super) fn program(&self, image: &str) -> Option<&Path> {
        let name = name(image);
        self.programs.iter().find(|(known, _)| known == name).map(|(_, program)| program.as_path())
    }
}

/// The last part of `image`, without tag and digest.
pub(super) fn name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_last_part() {
        let images = Images::default().with("echo-basic", "/p/echo");
        for image in ["echo-basic", "echo-basic:v1", "registry.example:5000/a/echo-basic:v1@sha256:00"] {
            assert_eq!(images.program(image), Some(Path::new("/p/echo")), "{image}");
        }
        assert_eq!(images.program("registry.example/echo-advanced:v1"), None);
    }
}
