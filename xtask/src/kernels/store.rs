//! Kernels on this machine: fetched once, and kept in the cache by what their packages are.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::newest::newest;
use super::pins::{Package, pinned};

/// What the lab and the programs need that these kernels have as modules, in the order in which they are loaded.
const MODULES: &[&str] = &["llc", "stp", "bridge", "veth", "sch_ingress", "cls_bpf"];

/// A kernel to boot.
pub(super) struct Kernel {
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// Modules, in the order in which they are loaded.
    pub(super) modules: Vec<PathBuf>,
}

impl Kernel {
    /// As Debian names it.
    pub(super) fn release(&self) -> String {
        let folder = self.image.parent().and_then(Path::file_name).unwrap_or_default();
        folder.to_string_lossy().into_owned()
    }
}

/// What a mirror has for an address.
enum Fetched {
    File,
    /// No such file: mirrors drop packages when newer ones come.
    Gone,
}

/// The kernel of `series` from `mirror`: the pinned one, or the newest where `take_newest` says so or the pinned one is gone.
///
/// # Errors
/// It cannot be had; the error says why.
pub(super) fn kernel(series: &str, mirror: &str, take_newest: bool) -> Result<Kernel> {
    let cache = testkit::cache()?.join("kernels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Two runs at once fetch once.
    let lock = File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the kernels in the cache")?;
    let packages = pinned(series)?;
    if !take_newest {
        if let Some(kernel) = stored(&cache, &packages, mirror)? {
            return Ok(kernel);
        }
        println!("kernels: {mirror} no longer has {}", packages[0].file());
    }
    let packages = newest(series, &packages[0].suite, mirror, &work_folder(&cache)?)?;
    println!("kernels: taking the newest {series}; to be pinned in lab/kernels.txt:");
    packages.iter().for_each(|package| println!("{}", package.line(series)));
    stored(&cache, &packages, mirror)?.with_context(|| format!("{mirror} has not got what its index names"))
}

/// The kernel of `packages`; None if the mirror has them no longer.
fn stored(cache: &Path, packages: &[Package], mirror: &str) -> Result<Option<Kernel>> {
    let Some(first) = packages.first() else { return Ok(None) };
    let place = cache.join(format!("{}-{}", first.file().trim_end_matches(".deb"), &first.sha256[..12]));
    if !place.exists() {
        let work = work_folder(cache)?;
        let (all, new) = (work.join("all"), work.join("new"));
        for package in packages {
            let file = work.join(package.file());
            println!("kernels: fetching {}", package.file());
            if let Fetched::Gone =
                fetch(&format!("{}/{}", mirror.trim_end_matches('/'), package.path), &file)?
            {
                return Ok(None);
            }
            check(&file, &package.sha256)?;
            unpack(&file, &all)?;
        }
        select(&all, &new)?;
        // Last: its presence says that all is there.
        fs::rename(&new, &place)?;
        fs::remove_dir_all(&work)?;
    }
    let modules =
        MODULES.iter().map(|module| find(&place, &format!("{module}.ko"))).collect::<Result<_>>()?;
    Ok(Some(Kernel { image: find(&place, "vmlinuz")?, modules }))
}

/// A new folder, for who has the lock.
fn work_folder(cache: &Path) -> Result<PathBuf> {
    let work = cache.join("work");
    new_folder(&work)?;
    Ok(work)
}

/// Makes `path` an empty folder, whatever an interrupted run left there.
///
/// # Errors
/// That cannot be.
pub(super) fn new_folder(path: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(path);
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

fn fetch(address: &str, to: &Path) -> Result<Fetched> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--location",
        "--retry",
        "3",
        "--write-out",
        "%{http_code}",
        "--output",
    ]);
    let output = command.arg(to).arg(address).output().context("cannot run curl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot fetch {address}: {}", said.trim());
    match &*String::from_utf8_lossy(&output.stdout) {
        "200" => Ok(Fetched::File),
        "404" => Ok(Fetched::Gone),
        code => bail!("cannot fetch {address}: HTTP status {code}"),
    }
}

fn check(file: &Path, sha256: &str) -> Result<()> {
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--status"]).stdin(Stdio::piped());
    let mut child = command.spawn().context("cannot run sha256sum")?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{sha256}  {}", file.display())?;
    }
    ensure!(child.wait()?.success(), "{} is not the package that it should be (SHA-256)", file.display());
    Ok(())
}

fn unpack(package: &Path, folder: &Path) -> Result<()> {
    let output = Command::new("dpkg-deb").arg("--extract").arg(package).arg(folder).output();
    let output = output.context("cannot run dpkg-deb, which unpacks Debian's packages (Debian: dpkg)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "dpkg-deb {}: {}", package.display(), said.trim());
    Ok(())
}

/// Keeps of an unpacked kernel what is booted.
fn select(all: &Path, new: &Path) -> Result<()> {
    fs::create_dir(new)?;
    let mut files = Vec::new();
    walk(all, &mut files)?;
    for wanted in MODULES.iter().map(|module| format!("{module}.ko")).chain(["vmlinuz".to_owned()]) {
        let found = files.iter().find(|file| is(file, &wanted));
        let found = found.with_context(|| format!("the kernel's packages hold no {wanted}"))?;
        fs::copy(found, new.join(found.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The file in `folder` that is `wanted`.
fn find(folder: &Path, wanted: &str) -> Result<PathBuf> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    let found = files.into_iter().find(|file| is(file, wanted));
    found.with_context(|| {
        format!("{} holds no {wanted}: remove it, and it is fetched again", folder.display())
    })
}

/// With what Debian puts behind a name: `vmlinuz-6.1.0-50-cloud-amd64`, `veth.ko.xz`.
fn is(file: &Path, wanted: &str) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_what_is_booted_of_its_packages() {
        let folder = tempfile::tempdir().unwrap();
        let all = folder.path().join("all");
        let names: Vec<String> =
            MODULES.iter().map(|module| format!("usr/lib/modules/7.2.12/{module}.ko.xz")).collect();
        for name in names
            .iter()
            .map(String::as_str)
            .chain(["boot/vmlinuz-7.2.12", "usr/lib/modules/7.2.12/vethtool.ko"])
        {
            let path = all.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let new = folder.path().join("new");
        select(&all, &new).unwrap();
        assert_eq!(find(&new, "vmlinuz").unwrap(), new.join("vmlinuz-7.2.12"));
        assert_eq!(find(&new, "veth.ko").unwrap(), new.join("veth.ko.xz"));
        assert!(find(&new, "vethtool.ko").unwrap_err().to_string().contains("vethtool.ko"));
        fs::remove_file(all.join(&names[0])).unwrap();
        assert!(select(&all, &folder.path().join("other")).is_err());
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.deb");
        fs::write(&file, "abc").unwrap();
        check(&file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        let error = check(&file, &"0".repeat(64)).unwrap_err().to_string();
        assert!(error.contains("a.deb") && error.contains("SHA-256"), "{error}");
    }
}
