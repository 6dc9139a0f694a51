// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of directories: attributes, propagation, being killed or failed on the way.

use std::process::Command;

use super::*;

/// Names the folder in which the helper below, run as a process of its own, does its work.
const FOLDER: &str = "MOSAIC_TEST_MOUNT_FOLDER";

#[test]
fn root_a_read_only_mount_of_a_directory_refuses_writes() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let at = scratch.path().join("at");
    mount_volume(scratch.path(), "ro").unwrap();
    assert_eq!(fs::read(at.join("file")).unwrap(), b"content");
    for result in [
        fs::write(at.join("file"), "other"),
        fs::write(at.join("new"), ""),
        fs::remove_file(at.join("file")),
    ] {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
    // The volume itself stays writable for its owner.
    fs::write(scratch.path().join("v/file"), "other").unwrap();
    umount(&at).unwrap();
    assert!(!is_mountpoint(&at));
}

#[test]
fn root_a_mount_is_nosuid_nodev_and_private_and_words_change_that() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let at = scratch.path().join("at");
    for (words, present, absent) in [
        ("", ["rw", "nosuid", "nodev"], ["ro", "noexec", "noatime"]),
        (
            "suid,noexec,noatime",
            ["noexec", "nodev", "noatime"],
            ["nosuid", "ro", "relatime"],
        ),
        (
            "ro,dev,nosymfollow",
            ["ro", "nosuid", "nosymfollow"],
            ["nodev", "rw", "noexec"],
        ),
    ] {
        mount_volume(scratch.path(), words).unwrap();
        let got = words_of(&at);
        assert!(
            present.iter().all(|w| got.iter().any(|g| g == w)),
            "{words}: {got:?}"
        );
        assert!(
            !absent.iter().any(|w| got.iter().any(|g| g == w)),
            "{words}: {got:?}"
        );
        assert!(!entry(&at).shared);
        umount(&at).unwrap();
    }
}

#[test]
fn root_a_mount_below_a_shared_one_is_private_and_its_copies_go_with_it() {
    if !requires_root() || !requires_program("unshare") {
        return;
    }
    let scratch = Scratch::new("shared").unwrap();
    let folder = scratch.folder("below").unwrap();
    run("mount", &["-t", "tmpfs", "none", folder.to_str().unwrap()]).unwrap();
    run("mount", &["--make-shared", folder.to_str().unwrap()]).unwrap();
    fs::create_dir(folder.join("v")).unwrap();
    fs::create_dir(folder.join("at")).unwrap();
    let _alone = a_new_namespace();
    let peer = Running::start(
        "unshare",
        &[
            "--mount",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            "echo; read x",
        ],
    );
    let at = folder.join("at");
    let seen_by_peer = || {
        let table = mountinfo::load(format!("/proc/{}/mountinfo", peer.pid()).as_ref()).unwrap();
        table.iter().any(|e| e.mountpoint == at)
    };
    mount_volume(&folder, "").unwrap();
    assert!(
        seen_by_peer(),
        "the test shows nothing if there are no copies"
    );
    assert!(!entry(&at).shared);
    umount(&at).unwrap();
    assert!(!seen_by_peer());
}

#[test]
fn root_what_is_mounted_beneath_a_volume_stays_out() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let inner = scratch.path().join("v/inner");
    fs::create_dir(&inner).unwrap();
    run("mount", &["-t", "tmpfs", "none", inner.to_str().unwrap()]).unwrap();
    fs::write(inner.join("foreign"), "").unwrap();
    mount_volume(scratch.path(), "").unwrap();
    let seen = scratch.path().join("at/inner");
    assert!(seen.is_dir() && !seen.join("foreign").exists());
    umount(&scratch.path().join("at")).unwrap();
}

#[test]
fn root_rw_on_a_read_only_file_system_is_refused_and_its_absence_is_not() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    let location = scratch.folder("location").unwrap();
    run(
        "mount",
        &["-t", "tmpfs", "none", location.to_str().unwrap()],
    )
    .unwrap();
    fs::create_dir(location.join("v")).unwrap();
    run("mount", &["-o", "remount,ro", location.to_str().unwrap()]).unwrap();
    let volume = File::open(location.join("v")).unwrap();
    let at = scratch.path().join("at");
    let mount =
        |words| mount_directory(volume.as_fd(), &open_target(&at).unwrap(), &options(words));
    assert_eq!(mount("rw").unwrap_err().kind(), ErrorKind::Permission);
    assert!(!is_mountpoint(&at));
    mount("").unwrap();
    assert!(
        words_of(&at).contains(&"ro".to_owned())
            || entry(&at).super_options.to_str().unwrap().starts_with("ro")
    );
    umount(&at).unwrap();
}

/// Not a test: what the tests below run as a process of its own.
#[test]
#[ignore = "a helper of other tests"]
fn helper_mounts_a_volume() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    if let Err(error) = mount_volume(Path::new(&folder), "ro") {
        // Not to the captured output, and without a panic's words around it.
        use std::io::Write;
        writeln!(
            std::io::stderr(),
            "{}: {}",
            error.kind().name(),
            error.chain()
        )
        .unwrap();
        std::process::exit(i32::from(error.kind().exit_status()));
    }
}

fn helper(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "mounts::tests::directory::helper_mounts_a_volume",
        "--ignored",
        "--nocapture",
    ]);
    command.env(FOLDER, folder);
    command
}

#[test]
fn root_killed_before_the_last_step_nothing_is_mounted() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    for (number, action, mounted) in [
        (libc::SYS_move_mount, Action::KillBefore, false),
        (libc::SYS_open_tree, Action::KillAfter, false),
        (libc::SYS_move_mount, Action::KillAfter, true),
    ] {
        let traced = Tracee::new(&helper(scratch.path()))
            .run(|call| {
                if call.number == number {
                    action
                } else {
                    Action::Continue
                }
            })
            .unwrap();
        assert_eq!(traced.outcome, Outcome::Killed, "{}", traced.stderr);
        let at = scratch.path().join("at");
        assert_eq!(is_mountpoint(&at), mounted, "{number}");
        if mounted {
            // It had its attributes before it was there.
            assert!(words_of(&at).contains(&"ro".to_owned()));
            umount(&at).unwrap();
        }
    }
}

#[test]
fn root_without_mount_setattr_the_needed_kernel_is_named_and_nothing_is_left() {
    if !requires_root() {
        return;
    }
    let scratch = scratch();
    for nth in [0, 1] {
        let traced = Tracee::new(&helper(scratch.path()))
            .fail(nth, libc::ENOSYS, |call| {
                call.number == libc::SYS_mount_setattr
            })
            .unwrap();
        assert_eq!(traced.outcome, Outcome::Exited(6), "{}", traced.stderr);
        assert!(
            traced.stderr.contains("needs Linux 5.12"),
            "{}",
            traced.stderr
        );
        assert!(!is_mountpoint(&scratch.path().join("at")));
    }
}
