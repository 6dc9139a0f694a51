// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `moctl` understands: clap definitions, nothing else.
//!
//! There are two commands. [`top_level`] has the few words that need no mosaic; [`verbs`] has what
//! is done with one. `arguments` decides which of the two reads a command line: one command with
//! inferred subcommands would read `moctl l info` as verb `list`, and `moctl info list` as volume
//! `list`.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{ArgAction, Args, Command, CommandFactory, Parser, Subcommand, ValueEnum};
use mosaic_core::mosaic;

/// How many seconds a lock is waited for unless `--lock-timeout` says otherwise.
static LOCK_TIMEOUT: LazyLock<String> =
    LazyLock::new(|| mosaic::LOCK_TIMEOUT.as_secs_f64().to_string());

/// The longest time that `--lock-timeout` takes: a year.
const LOCK_TIMEOUT_MAX: f64 = 366.0 * 24.0 * 3600.0;

/// Options of every action, before the mosaic or after the verb alike.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print one JSON object, also for errors
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no more than what was asked for, and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print what is done to volumes, devices and mounts, and each program; twice: with times
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// How long to wait for somebody else's lock; may have a fraction
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value = LOCK_TIMEOUT.as_str(),
        value_parser = lock_timeout
    )]
    pub lock_timeout: Duration,
    /// Look for drivers here first; may be given more than once
    #[arg(long, global = true, value_name = "DIR")]
    pub driver_dir: Vec<PathBuf>,
}

/// The command line without a mosaic.
#[derive(Debug, Parser)]
#[command(
    name = "moctl",
    version,
    about = "Keeps volumes of virtual machines and containers on any Linux storage",
    disable_help_subcommand = true,
    arg_required_else_help = true,
    subcommand_required = true,
    override_usage = "moctl [OPTIONS] MOSAIC ACTION [ARGS]\n       \
                      moctl [OPTIONS] drivers [TYPE] | mosaics | completions SHELL | help [WORD] | man",
    subcommand_help_heading = "Without a mosaic"
)]
pub struct TopLevel {
    /// Options of every action.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub action: TopAction,
}

/// The words that are no mosaic. They are never shortened.
#[derive(Debug, Subcommand)]
pub enum TopAction {
    /// List the installed drivers, or show one and its config keys
    #[command(
        override_usage = "moctl [OPTIONS] drivers [TYPE]",
        after_help = "Example: moctl drivers loop"
    )]
    Drivers {
        /// A driver's type
        #[arg(value_name = "TYPE")]
        driver_type: Option<String>,
    },
    /// List the configured mosaics
    #[command(
        override_usage = "moctl [OPTIONS] mosaics",
        after_help = "Example: moctl mosaics"
    )]
    Mosaics,
    /// Print a shell's completion script
    #[command(
        override_usage = "moctl [OPTIONS] completions bash|zsh|fish",
        after_help = "Example: moctl completions bash > /etc/bash_completion.d/moctl"
    )]
    Completions(Completions),
    /// Show help on moctl, or on a word of it
    #[command(
        override_usage = "moctl [OPTIONS] help [WORD]",
        after_help = "Example: moctl help clone"
    )]
    Help {
        /// A verb, or another word that moctl knows
        word: Option<String>,
    },
    /// Print a manual page, or write all of them to a folder
    #[command(
        override_usage = "moctl [OPTIONS] man [WORD]\n       moctl [OPTIONS] man --to DIR",
        after_help = "Example: moctl man clone | man -l -"
    )]
    Man {
        /// A verb, or another word that moctl knows
        #[arg(conflicts_with = "to")]
        word: Option<String>,
        /// Write all pages to this folder
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// `completions`. What is hidden is how the scripts ask for candidates.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
    /// The command line up to the cursor, as typed.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub line: Option<String>,
    /// The characters at which the shell begins a new word to complete.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub breaks: Option<String>,
    /// The words follow, without the shell's quotes; the last is to be completed.
    #[arg(long, hide = true)]
    pub words: bool,
    /// The words.
    #[arg(hide = true, last = true)]
    pub word: Vec<std::ffi::OsString>,
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash, 4.4 or newer
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// The command line behind the mosaic.
#[derive(Debug, Parser)]
#[command(
    name = "moctl",
    bin_name = "moctl MOSAIC",
    about = "Works on a mosaic and its volumes",
    disable_help_subcommand = true,
    disable_version_flag = true,
    subcommand_required = true,
    subcommand_value_name = "ACTION",
    subcommand_help_heading = "Actions",
    override_usage = "moctl [OPTIONS] MOSAIC ACTION [ARGS]"
)]
pub struct Verbs {
    /// Options of every action.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with a mosaic.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show what the mosaic, or a volume of it, is and can do
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC info [V]",
        after_help = "Example: moctl web info vm1"
    )]
    Info(Info),
    /// List the volumes
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC list",
        after_help = "Example: moctl web list"
    )]
    List,
    /// Say whether there is such a volume
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC have V [--exit-code]",
        after_help = "Example: moctl web have vm1"
    )]
    Have(Have),
    /// Make a volume
    #[command(
        visible_alias = "create",
        override_usage = "moctl [OPTIONS] MOSAIC new fs|disk V SIZE [--exist-ok]",
        after_help = "Example: moctl web new fs vm1 10G"
    )]
    New(New),
    /// Make a volume that shares the data of another one, copy-on-write
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC clone FROM TO [--size SIZE] [--exist-ok]",
        after_help = "Example: moctl web clone vm1 vm2 --size 20G"
    )]
    Clone(CloneArgs),
    /// Destroy a volume and all its data
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC drop V [--missing-ok] [--wait]",
        after_help = "Example: moctl web drop vm2"
    )]
    Drop(Drop),
    /// Give a volume another name
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC rename V W",
        after_help = "Example: moctl web rename vm1 www"
    )]
    Rename(Rename),
    /// Make the location, where the driver can; without --force never over what is there
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC init [--quota KIND] [--adopt] [--force]",
        after_help = "Example: moctl web init"
    )]
    Init(Init),
    /// Mount a volume, or the metadata
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC mount V|- PATH [-o OPTS]",
        after_help = "Example: moctl web mount vm1 /mnt/vm1 -o ro,noexec"
    )]
    Mount(Mount),
    /// Unmount a volume, or the metadata
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC umount V|- PATH",
        after_help = "Example: moctl web umount vm1 /mnt/vm1"
    )]
    Umount(Umount),
    /// Show a volume as a block device
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC attach V [--ro] [--exist-ok]",
        after_help = "Example: moctl web attach vm1 --ro"
    )]
    Attach(Attach),
    /// Take a volume's block device away
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC detach V [--missing-ok]",
        after_help = "Example: moctl web detach vm1"
    )]
    Detach(Detach),
    /// Set a volume's size, or change it by so much
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC resize V [+|-]SIZE [--shrink]",
        after_help = "Example: moctl web resize vm1 +5G"
    )]
    Resize(Resize),
    /// Compare location, volumes and kernel, or check a volume's file system; say what is wrong
    #[command(
        override_usage = "moctl [OPTIONS] MOSAIC check [V] [--repair[=CLASS,...]]",
        after_help = "Example: moctl web check --repair"
    )]
    Check(Check),
}

/// `info`.
#[derive(Debug, Args)]
pub struct Info {
    /// The volume; without it: the mosaic
    #[arg(value_name = "V")]
    pub volume: Option<String>,
}

/// `have`.
#[derive(Debug, Args)]
pub struct Have {
    /// The volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// Exit with status 3 if there is none
    #[arg(long)]
    pub exit_code: bool,
}

/// What a new volume is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NewKind {
    /// A file system, for a container
    Fs,
    /// A raw disk, for a virtual machine
    Disk,
}

/// `new`.
#[derive(Debug, Args)]
pub struct New {
    /// What it is to hold
    #[arg(value_name = "fs|disk", hide_possible_values = true)]
    pub kind: NewKind,
    /// The new volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// Bytes, or K, M, G, T, P of 1024 each (KiB and so on mean the same)
    #[arg(value_name = "SIZE")]
    pub size: String,
    /// Succeed if there is such a volume of this kind and size already
    #[arg(long)]
    pub exist_ok: bool,
}

/// `clone`.
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// The volume to clone
    #[arg(value_name = "FROM")]
    pub from: String,
    /// The new volume
    #[arg(value_name = "TO")]
    pub to: String,
    /// The clone's size, where it is to be larger
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub size: Option<String>,
    /// Succeed if there is such a volume of this kind and size already, and no clone of another one
    #[arg(long)]
    pub exist_ok: bool,
}

/// `drop`.
#[derive(Debug, Args)]
pub struct Drop {
    /// The volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// Succeed if there is none
    #[arg(long)]
    pub missing_ok: bool,
    /// Return when its space is back
    #[arg(long)]
    pub wait: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Switch quotas on in the location's file system, where the driver can
    #[arg(long, value_name = "KIND")]
    pub quota: Option<Quota>,
    /// Take over a thin pool that is active and was never used
    #[arg(long)]
    pub adopt: bool,
    /// Make it on devices that are not blank, and destroy what is on them
    #[arg(long)]
    pub force: bool,
}

/// A kind of quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Quota {
    /// Counts what each volume writes from now on; cheap
    Simple,
    /// Counts all data, and what only one volume has; slows the file system down
    Full,
}

/// `rename`.
#[derive(Debug, Args)]
pub struct Rename {
    /// The volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// Its new name
    #[arg(value_name = "W")]
    pub new_name: String,
}

/// `mount`.
#[derive(Debug, Args)]
pub struct Mount {
    /// The volume; - is the metadata
    #[arg(value_name = "V|-")]
    pub volume: String,
    /// An existing directory
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Mount options, split by commas: ro, rw, noexec, nosuid, nodev, noatime, ...
    #[arg(short = 'o', long, value_name = "OPTS")]
    pub options: Vec<String>,
}

/// `umount`.
#[derive(Debug, Args)]
pub struct Umount {
    /// The volume; - is the metadata
    #[arg(value_name = "V|-")]
    pub volume: String,
    /// Where it is mounted
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// `attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// The volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// The device refuses writes
    #[arg(long)]
    pub ro: bool,
    /// Succeed if it is attached already, by attach and in the same way
    #[arg(long)]
    pub exist_ok: bool,
}

/// `detach`.
#[derive(Debug, Args)]
pub struct Detach {
    /// The volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// Succeed if it is not attached
    #[arg(long)]
    pub missing_ok: bool,
}

/// `resize`.
#[derive(Debug, Args)]
pub struct Resize {
    /// The volume
    #[arg(value_name = "V")]
    pub volume: String,
    /// The size that it is to have; with + or - in front: by how much it is to change
    #[arg(value_name = "[+|-]SIZE")]
    pub size: String,
    /// Allow it to become smaller
    #[arg(long)]
    pub shrink: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The idle volume whose file system to check; without it: the mosaic
    #[arg(value_name = "V")]
    pub volume: Option<String>,
    /// Mend these classes of faults, as check names them; without CLASS: ask for each on a
    /// terminal, else mend what need not be named
    #[arg(
        long,
        value_name = "CLASS",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ','
    )]
    pub repair: Option<Vec<String>>,
}

/// Seconds, perhaps with a fraction, at most a year.
fn lock_timeout(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=LOCK_TIMEOUT_MAX).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds, such as 10 or 0.5".to_owned())
}

/// Verbs that are always written in full: they destroy something, or make much.
pub const NEVER_SHORTENED: [&str; 4] = ["drop", "rollback", "init", "detach"];

/// The command of the words that need no mosaic.
pub fn top_level() -> Command {
    TopLevel::command().after_help(actions_overview())
}

/// The command of what is done with a mosaic.
pub fn verbs() -> Command {
    Verbs::command()
}

/// One line for each verb, for the help of [`top_level`].
fn actions_overview() -> String {
    let mut text = "Actions (more by moctl help ACTION):\n".to_owned();
    for verb in verbs().get_subcommands() {
        let about = verb.get_about().map(ToString::to_string);
        let line = format!("  {:<11}  {}\n", verb.get_name(), about.unwrap_or_default());
        text.push_str(&line);
    }
    text
}
