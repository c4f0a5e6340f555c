//! Man pages and completions are made from the command line as it is.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Place, Who};
use lunforge_daemon::schema;
use lunforge_daemon::tree::Kind;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn generated(place: &Place) -> String {
    let folder = place.path("generated");
    let output = place.lunforge(&["generate", &folder]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    folder
}

/// The commands that `lunforge --help` lists.
fn commands(place: &Place) -> Vec<String> {
    let output = place.lunforge(&["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.filter(|w| *w != "help").map(str::to_owned).collect()
}

#[test]
fn each_command_that_help_lists_has_a_page() {
    let place = Place::new(Who::Us);
    let folder = generated(&place);
    let pages = names(&Path::new(&folder).join("man1"));
    let commands = commands(&place);
    assert!(commands.len() > 10, "{commands:?}");
    let mut expected: Vec<_> = commands
        .iter()
        .map(|command| format!("lunforge-{command}.1"))
        .collect();
    expected.extend(["lunforge.1", "scstadmin.1"].map(str::to_owned));
    expected.sort();
    assert_eq!(pages, expected);
    let page = fs::read_to_string(Path::new(&folder).join("man1/lunforge-export.1")).unwrap();
    for option in ["\\-\\-metrics", "\\-\\-size", "\\-\\-chap"] {
        assert!(page.contains(option), "{option}");
    }
    let first = fs::read_to_string(Path::new(&folder).join("man1/lunforge.1")).unwrap();
    assert!(!first.contains("generate"));
}

#[test]
fn the_page_of_scstadmin_has_its_operations_options_and_exit_codes() {
    let place = Place::new(Who::Us);
    let folder = generated(&place);
    let page = fs::read_to_string(Path::new(&folder).join("man1/scstadmin.1")).unwrap();
    let page = page.replace('\\', "");
    let help = Command::new(env!("CARGO_BIN_EXE_scstadmin"))
        .arg("-help")
        .output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let options = help.lines().filter_map(|line| line.strip_prefix("  -"));
    let names: Vec<_> = options
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 70, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("fB-{name}fR")), "{name}");
    }
    assert!(
        page.contains(
            "fB-add_tgrp_tgtfR fINAMEfR fB-dev_groupfR fIGROUPfR fB-tgt_groupfR fIGROUPfR"
        )
    );
    assert!(page.contains("fB138fR\nThe device is in another device group."));
}

#[test]
fn the_page_of_attributes_has_each_of_them_with_its_help() {
    let place = Place::new(Who::Us);
    let folder = generated(&place);
    let page = Path::new(&folder).join("man5/lunforge-attributes.5");
    let page = fs::read_to_string(page).unwrap().replace('\\', "");
    let of = [
        (Kind::Root, ""),
        (Kind::Device, "vdisk_fileio"),
        (Kind::Target, "iscsi"),
    ];
    for (kind, family) in of {
        for attribute in schema::attributes(kind, family) {
            let name = format!("fB{}fR", attribute.name);
            assert!(page.contains(&name), "{name}");
            assert!(page.contains(&attribute.help.replace('\\', "")), "{name}");
        }
    }
}

#[test]
fn pages_are_set_without_a_warning_where_there_is_groff() {
    let place = Place::new(Who::Us);
    let folder = generated(&place);
    for section in ["man1", "man5"] {
        for page in names(&Path::new(&folder).join(section)) {
            let page = Path::new(&folder).join(section).join(page);
            // Lines that cannot be filled evenly are no fault.
            let set = Command::new("groff")
                .args(["-man", "-ww", "-Wbreak", "-z", "-Tutf8"])
                .arg(&page)
                .output();
            let Ok(output) = set else {
                eprintln!("groff is not installed");
                return;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{page:?}: {said}"
            );
        }
    }
}

#[test]
fn completions_name_the_commands_and_are_right_for_their_shells() {
    let place = Place::new(Who::Us);
    let folder = generated(&place);
    for (shell, file) in [
        ("bash", "lunforge.bash"),
        ("zsh", "_lunforge"),
        ("fish", "lunforge.fish"),
    ] {
        let path = Path::new(&folder).join(shell).join(file);
        let text = fs::read_to_string(&path).unwrap();
        for command in commands(&place) {
            assert!(text.contains(&command), "{shell}: {command}");
        }
        assert!(!text.contains("generate"), "{shell}");
        // Where there is such a shell, it reads it.
        let check = Command::new(shell)
            .arg("-n")
            .arg(&path)
            .stderr(Stdio::inherit())
            .status();
        assert!(check.map_or(true, |status| status.success()), "{shell}");
    }
}

#[test]
fn where_nothing_can_be_written_that_is_said() {
    let place = Place::new(Who::Us);
    let file = place.file("file", 0o600, "");
    let output = place.lunforge(&["generate", &file]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("lunforge: cannot write to ") && said.lines().count() == 1);
}
