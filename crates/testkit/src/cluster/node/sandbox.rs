//! The view of the file system that a container's program gets: the machine's own under a layer that goes with it, and
//! the container's volumes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::confinement::Confinement;

/// A folder or file of the machine, as the container sees it.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    /// On the machine.
    pub(super) from: PathBuf,
    /// In the container.
    pub(super) to: PathBuf,
    /// It cannot be written.
    pub(super) read_only: bool,
}

/// Where the entry point of the image is in the container.
pub(super) const ENTRY_POINT: &str = "/image/program";

/// The folder of the entry point, where it has its image's name, too: of the search path of programs.
pub(super) const ENTRY_FOLDER: &str = "/image";

/// A command that runs `words` in `workdir` of a mount namespace of its own: below `layer` (a folder of the container)
/// everything of the machine can be read, and what is written goes with the process; `/tmp` and `/run` are empty; the
/// `mounts` are there, and `program` as [`ENTRY_POINT`].
///
/// A program is not found in folders that a volume hides, so it has a folder of its own.
pub(super) fn command(
    layer: &Path,
    program: &Path,
    mounts: &[Mount],
    workdir: &str,
    words: &[String],
    confinement: &Confinement,
) -> Command {
    let mut script = format!(
        "layer={layer}
root=$layer/root
mount -t tmpfs tmpfs $layer
mkdir $layer/upper $layer/work $root
mount -t overlay overlay -o lowerdir=/,upperdir=$layer/upper,workdir=$layer/work $root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount --rbind /dev $root/dev
mount -t tmpfs tmpfs $root/tmp
mount -t tmpfs tmpfs $root/run
",
        layer = quoted(&layer.to_string_lossy()),
    );
    let program = Mount { from: program.to_owned(), to: ENTRY_POINT.into(), read_only: false };
    for mount in std::iter::once(&program).chain(mounts) {
        script.push_str(&bind(mount));
    }
    script.push_str(LEAVE);
    if confinement.read_only {
        script.push_str("mount -o remount,bind,ro /\n");
        // What is a volume is the container's to write.
        for folder in
            ["/tmp", "/run"].iter().filter(|folder| !mounts.iter().any(|mount| mount.to == Path::new(folder)))
        {
            script.push_str(&format!("mount -o remount,bind,ro {folder}\n"));
        }
    }
    script.push_str(START);
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-eu",
        "-c",
        &script,
        "container",
        workdir,
    ]);
    command.args(&confinement.prefix).args(words);
    command
}

/// Takes the new root and lets go of the machine's mounts: namespaces and pins of others that are mounted somewhere would
/// otherwise live as long as this program.
const LEAVE: &str = "cd $root
mkdir .machine
pivot_root . .machine
umount --lazy /.machine
rmdir /.machine
";

const START: &str = "cd \"$1\"
shift
exec \"$@\"
";

/// Links on the way to the place lead where they lead in the container, `/var/run` to its own `/run`.
fn bind(mount: &Mount) -> String {
    let (from, to) = (quoted(&mount.from.to_string_lossy()), quoted(&mount.to.to_string_lossy()));
    let make =
        if mount.from.is_file() { "mkdir -p \"$(dirname \"$1\")\" && : >>\"$1\"" } else { "mkdir -p \"$1\"" };
    let make = quoted(&format!("{make} && readlink -f \"$1\""));
    let seal = if mount.read_only { "mount -o remount,bind,ro \"$root$at\"\n" } else { "" };
    format!("at=$(chroot $root /bin/sh -c {make} make {to})\nmount --rbind {from} \"$root$at\"\n{seal}")
}

/// `word` for a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_program_sees_its_volumes_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (layer, volume) = (folder.path().join("layer"), folder.path().join("it's"));
        fs::create_dir(&layer).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "in the volume").unwrap();
        let mounts = [
            Mount { from: volume.clone(), to: "/certs/a".into(), read_only: false },
            Mount { from: volume.join("file"), to: "/etc/one".into(), read_only: true },
            // A link on Debian.
            Mount { from: volume.clone(), to: "/var/run/rauta-a/b".into(), read_only: true },
        ];
        let script = "cat /etc/one /var/run/rauta-a/b/file && echo $1 >/certs/a/new && ! echo x >/etc/one && pwd && ! grep -q -e /run/netns -e machine /proc/self/mountinfo && touch /left-behind";
        let words = [ENTRY_POINT, "-c", script, "0", "written"].map(str::to_owned);
        let command =
            command(&layer, Path::new("/bin/sh"), &mounts, "/certs", &words, &Confinement::default());
        let output = crate::exec(None, command, std::time::Duration::from_secs(60)).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "in the volumein the volume/certs\n", "{error}");
        assert_eq!(fs::read_to_string(volume.join("new")).unwrap(), "written\n");
        for left in ["/left-behind", "/certs", "/run/rauta-a"] {
            assert!(!Path::new(left).exists(), "{left}");
        }
    }

    #[test]
    fn a_confined_program_has_its_capabilities_and_writes_to_its_volumes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (layer, volume) = (folder.path().join("layer"), folder.path().join("volume"));
        fs::create_dir(&layer).unwrap();
        fs::create_dir(&volume).unwrap();
        let mounts = [Mount { from: volume.clone(), to: "/run".into(), read_only: false }];
        let confinement = Confinement::of(&serde_json::json!({"securityContext": {
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        }}));
        let script = "touch /run/there; for place in /there /tmp/there; do ! touch $place 2>/dev/null || echo $place; done; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status";
        let words = [ENTRY_POINT, "-c", script].map(str::to_owned);
        let command = command(&layer, Path::new("/bin/sh"), &mounts, "/", &words, &confinement);
        let output = crate::exec(None, command, std::time::Duration::from_secs(60)).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let words: Vec<String> =
            String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect();
        let one = "0000000000000400";
        assert_eq!(words, ["CapEff:", one, "CapBnd:", one, "NoNewPrivs:", "1"], "{error}");
        assert!(volume.join("there").exists(), "{error}");
    }
}
