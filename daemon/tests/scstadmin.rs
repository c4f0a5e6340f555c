//! `scstadmin` against a machine on paper: what its users and their scripts type, what is printed, exit codes.

use std::collections::VecDeque;
use std::sync::Arc;

use lunforge_daemon::control::paper::Paper;
use lunforge_daemon::control::{Managed, ScstConf};
use lunforge_daemon::scstadmin::{self, Asks, Options};

/// Answers questions from a list, then with no.
struct Operator(VecDeque<bool>);

impl Asks for Operator {
    fn ask(&mut self, _: &str) -> bool {
        self.0.pop_front().unwrap_or(false)
    }
}

struct Node(Arc<Managed<Paper>>);

impl Node {
    fn new() -> Self {
        Self(Arc::new(Managed::on_paper(ScstConf)))
    }

    /// Exit code, standard output, standard error.
    fn run_as(&self, words: &[impl AsRef<str>], answers: &[bool]) -> (u8, String, String) {
        let options = Options::parse(words.iter().map(|word| word.as_ref().to_owned())).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut operator = Operator(answers.iter().copied().collect());
        let mut peer = &self.0;
        let code = scstadmin::run(options, &mut peer, &mut out, &mut err, &mut operator);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(out), text(err))
    }

    fn run(&self, line: &str) -> (u8, String, String) {
        self.run_as(&words(line), &[true; 3])
    }

    fn works(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!((code, err.as_str()), (0, ""), "{line}");
        assert!(out.ends_with("\nAll done.\n"), "{line}: {out}");
        out
    }

    /// What an operation prints between the lines that all have.
    fn shown(&self, line: &str) -> String {
        let out = self.works(line);
        let out = out
            .strip_prefix("\nCollecting current configuration: done.\n\n")
            .unwrap();
        out.strip_suffix("\nAll done.\n").unwrap().to_owned()
    }

    fn fails(&self, line: &str) -> (u8, String) {
        let (code, _, err) = self.run(line);
        assert_ne!(code, 0, "{line}");
        let said = err
            .strip_prefix("\nFATAL: Received the following error:\n\n\t")
            .unwrap_or(&err);
        (code, said.trim_end().to_owned())
    }
}

/// As a shell parts them: quotes keep blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

const IQN: &str = "iqn.2016-02.local.virtual:hpms01.vg1";

#[test]
fn the_published_commands_of_a_pair_of_nodes_work_in_their_order() {
    for (node, remote_id) in [("hpms01", "2"), ("hpms02", "1")] {
        let own = format!("iqn.2016-02.local.virtual:{node}.vg1");
        let script =
            std::fs::read_to_string(format!("../interop/guest/seeds/{node}-alua_setup.sh"));
        let script = script.unwrap();
        let pair = Node::new();
        pair.works(&format!("-add_target {own} -driver iscsi"));
        for line in script.lines().filter(|line| !line.starts_with('#')) {
            let line = line.strip_prefix("scstadmin ").unwrap();
            match line.strip_suffix(" || 1") {
                // By hand before, on the node whose name it is.
                Some(again) if again.contains(node) => assert_eq!(pair.fails(again).0, 41),
                Some(first) => drop(pair.works(first)),
                None => drop(pair.works(line)),
            }
        }
        let groups = pair.shown("-list_dgrp esos");
        assert!(groups.contains("Target Group: remote"), "{groups}");
        assert!(
            groups.contains(&format!("\tgroup_id      {remote_id}")),
            "{groups}"
        );
        assert_eq!(
            pair.shown(&format!(
                "-list_lun_attr 0 -driver iscsi -target {own} -nonkey"
            ))
            .matches("read_only")
            .count(),
            1
        );
    }
}

#[test]
fn the_calls_of_the_cluster_agents_work_in_their_order() {
    let node = Node::new();
    // A target and its LUN, started, watched and stopped.
    node.works(&format!("-add_target {IQN} -driver iscsi"));
    node.works(&format!(
        "-add_tgt_attr {IQN} -driver iscsi -attributes allowed_portal=10.0.0.1"
    ));
    node.works(&format!("-add_group allowed -driver iscsi -target {IQN}"));
    node.works(&format!(
        "-add_init iqn.1993-08.org.debian:* -driver iscsi -target {IQN} -group allowed"
    ));
    node.works(&format!(
        "-add_tgt_attr {IQN} -driver iscsi -attributes \"IncomingUser user a-password-of-16\""
    ));
    node.works(&format!("-enable_target {IQN} -driver iscsi"));
    node.works("-set_drv_attr iscsi -attributes enabled=1 -noprompt");
    node.works("-open_dev disk -handler vdisk_fileio -attributes filename=/tmp/disk.img,nv_cache=0,write_through=1");
    node.works("-set_dev_attr disk -attributes usn=0123456789 -force -noprompt");
    node.works("-set_dev_attr disk -attributes t10_vend_id=LUNFORGE -force -noprompt");
    node.works("-set_dev_attr disk -attributes t10_dev_id=disk-0123 -force -noprompt");
    node.works(&format!(
        "-add_lun 0 -driver iscsi -target {IQN} -group allowed -device disk"
    ));
    let shown = node.shown("-list_dev_attr disk");
    for (name, value) in [
        ("usn", "0123456789"),
        ("filename", "/tmp/disk.img"),
        ("write_through", "1"),
    ] {
        assert!(
            shown.lines().any(|line| {
                let mut cells = line.split_whitespace();
                cells.next() == Some(name)
                    && cells.next() == Some(value)
                    && cells.last() == Some("Yes")
            }),
            "{shown}"
        );
    }
    node.works(&format!(
        "-rem_lun 0 -driver iscsi -target {IQN} -group allowed -force -noprompt"
    ));
    node.works("-close_dev disk -handler vdisk_fileio -force -noprompt");
    node.works(&format!(
        "-disable_target {IQN} -driver iscsi -force -noprompt"
    ));
    node.works(&format!("-rem_target {IQN} -driver iscsi -force -noprompt"));
    assert_eq!(
        node.fails(&format!("-list_target {IQN} -driver iscsi")).0,
        40
    );
}

#[test]
fn the_state_of_a_target_group_is_set_as_an_agent_promotes_and_demotes() {
    let node = Node::new();
    node.works("-add_dgrp esos");
    for (group, id) in [("local", 1), ("remote", 2)] {
        node.works(&format!("-add_tgrp {group} -dev_group esos"));
        node.works(&format!(
            "-set_tgrp_attr {group} -dev_group esos -attributes group_id={id}"
        ));
    }
    for state in [
        "active",
        "nonoptimized",
        "transitioning",
        "standby",
        "unavailable",
        "offline",
    ] {
        node.works(&format!(
            "-noprompt -set_tgrp_attr local -dev_group esos -attributes state={state}"
        ));
        let shown = node.shown("-list_tgrp_attr local -dev_group esos");
        assert!(shown.contains(state), "{shown}");
    }
    let (code, said) =
        node.fails("-noprompt -set_tgrp_attr local -dev_group esos -attributes state=on");
    assert_eq!(code, 152);
    assert!(said.contains("expected active or nonoptimized"), "{said}");
}

#[test]
fn lists_have_the_forms_that_scripts_read() {
    let node = Node::new();
    node.works("-open_dev nodev -handler vdisk_nullio -attributes dummy=1");
    node.works("-open_dev disk0 -handler vdisk_fileio -attributes filename=/tmp/a,read_only=1");
    node.works("-open_dev disk1 -handler vdisk_fileio -attributes filename=/tmp/b,nv_cache=1");
    let (title, rows) = table(&node.shown("-list_device"));
    assert_eq!(title, ["Handler", "Device"]);
    assert!(rows.contains(&vec!["vdisk_fileio".to_owned(), "disk0".to_owned()]));
    assert!(
        rows.contains(&vec!["disk1".to_owned()]),
        "the handler is told once"
    );
    assert!(rows.contains(&vec!["vdisk_blockio".to_owned(), "-".to_owned()]));
    let shown = node.shown("-list_dev_attr disk0");
    let (title, rows) = table(&shown);
    assert_eq!(title, ["Attribute", "Value", "Writable", "KEY"]);
    assert!(
        rows.contains(&["read_only", "1", "No", "Yes"].map(str::to_owned).to_vec()),
        "{shown}"
    );
    let shown = node.shown("-list_scst_attr");
    assert_eq!(
        shown,
        "\tAttribute     Value     Writable      KEY\n\t-----------------------------------------\n\t(none)\n"
    );
    let shown = node.shown("-list_hnd_attr vdisk_blockio");
    assert!(
        shown.contains(
            "\n\tDevice CREATE attributes available\n\t----------------------------------\n"
        ),
        "{shown}"
    );
    for name in [
        "active",
        "blocksize",
        "filename",
        "nv_cache",
        "tst",
        "write_through",
    ] {
        assert!(shown.contains(&format!("\n\t{name}\n")), "{shown}");
    }
}

/// Title and rows of a table, as words.
fn table(shown: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut lines = shown.lines();
    let title = words(lines.next().unwrap());
    assert!(lines.next().unwrap().trim_start().chars().all(|c| c == '-'));
    (title, lines.map(words).collect())
}

#[test]
fn a_target_is_shown_with_its_luns_and_groups() {
    let node = Node::new();
    node.works("-open_dev disk -handler vdisk_nullio");
    node.works(&format!("-add_target {IQN} -driver iscsi"));
    node.works(&format!(
        "-add_lun 0 -driver iscsi -target {IQN} -device disk"
    ));
    node.works(&format!("-add_group g -driver iscsi -target {IQN}"));
    node.works(&format!(
        "-add_lun 3 -driver iscsi -target {IQN} -group g -device disk"
    ));
    node.works(&format!(
        "-add_init iqn.* -driver iscsi -target {IQN} -group g"
    ));
    let expected = format!(
        "Driver: iscsi\nTarget: {IQN}\n\n\
         Assigned LUNs:\n\n\tLUN Device\n\t----------\n\t0   disk  \n\n\
         Group: g\n\n\
         Assigned LUNs:\n\n\tLUN Device\n\t----------\n\t3   disk  \n\n\
         Assigned Initiators:\n\n\tInitiator\n\t---------\n\tiqn.*\n\n"
    );
    assert_eq!(
        node.shown(&format!("-list_target {IQN} -driver iscsi")),
        expected
    );
    assert!(node.shown("-list_group").contains(&expected));
    let sessions = node.shown("-list_sessions");
    assert!(
        sessions.contains(&format!("Driver/Target: iscsi/{IQN}\n\n\t(no sessions)\n")),
        "{sessions}"
    );
}

#[test]
fn errors_have_the_codes_that_scripts_know() {
    let node = Node::new();
    node.works(&format!("-add_target {IQN} -driver iscsi"));
    node.works("-open_dev disk -handler vdisk_nullio");
    node.works("-add_dgrp one");
    node.works("-add_dgrp two");
    node.works("-add_dgrp_dev disk -dev_group one");
    for (line, code) in [
        ("-open_dev disk -handler vdisk_nullio", 21),
        ("-open_dev disk -handler nothing", 10),
        ("-close_dev other -handler vdisk_nullio", 20),
        ("-add_target t -driver nothing", 30),
        (&format!("-add_target {IQN} -driver iscsi"), 41),
        ("-rem_target t -driver iscsi", 40),
        (&format!("-rem_lun 9 -driver iscsi -target {IQN}"), 47),
        (
            &format!("-add_lun 1 -driver iscsi -target {IQN} -device none"),
            20,
        ),
        (&format!("-rem_group g -driver iscsi -target {IQN}"), 60),
        ("-add_dgrp one", 121),
        ("-rem_dgrp three", 120),
        ("-add_dgrp_dev disk -dev_group two", 138),
        ("-add_tgrp_tgt t -dev_group one -tgt_group none", 136),
        ("-set_dev_attr disk -attributes nothing=1", 27),
        ("-set_dev_attr disk -attributes blocksize=4096", 28),
        (
            &format!("-set_tgt_attr {IQN} -driver iscsi -attributes rel_tgt_id=x"),
            52,
        ),
    ] {
        assert_eq!(node.fails(line).0, code, "{line}");
    }
}

#[test]
fn what_asks_changes_nothing_without_a_yes() {
    let node = Node::new();
    node.works("-add_dgrp g");
    let (code, out, _) = node.run_as(&["-rem_dgrp", "g"], &[false]);
    assert!(code != 0 && out.contains("Aborted"));
    assert!(node.shown("-list_dgrp").contains("\tg\n"));
    assert_eq!(node.run_as(&["-rem_dgrp", "g", "-noprompt"], &[]).0, 0);
}

#[test]
fn debug_tells_and_changes_nothing() {
    let node = Node::new();
    let shown = node.shown("-add_dgrp g -debug");
    assert!(shown.contains("make device_groups/g"), "{shown}");
    assert!(!node.shown("-list_dgrp").contains("\tg\n"));
}

#[test]
fn an_error_of_one_attribute_is_passed_over_if_so_told() {
    let node = Node::new();
    node.works("-open_dev disk -handler vdisk_nullio");
    let line = "-set_dev_attr disk -attributes nothing=1,usn=abc -noprompt";
    assert_eq!(node.fails(line).0, 27);
    assert!(!node.shown("-list_dev_attr disk").contains("abc"));
    node.works(&format!("{line} -cont_on_err"));
    assert!(node.shown("-list_dev_attr disk").contains("abc"));
}

#[test]
fn a_file_is_set_with_what_is_said_of_it_or_nothing_is() {
    let node = Node::new();
    node.works("-open_dev disk -handler vdisk_fileio -attributes filename=/old,size=1048576");
    let line = |more: &str| {
        format!("-set_dev_attr disk -attributes filename=/new,size=2097152{more} -noprompt")
    };
    assert_eq!(node.fails(&line(",nothing=1")).0, 27);
    assert_eq!(node.fails(&line(",blocksize=4096")).0, 28);
    let shown = node.shown("-list_dev_attr disk");
    assert!(
        shown.contains("/old") && shown.contains("1048576"),
        "{shown}"
    );
    let said = node.works(&line(""));
    assert!(
        said.contains("Setting device attributes 'filename', 'size' for 'disk': done."),
        "{said}"
    );
    assert!(said.contains("1 change(s) made"), "{said}");
    let shown = node.shown("-list_dev_attr disk");
    assert!(
        shown.contains("/new") && shown.contains("2097152"),
        "{shown}"
    );
}

#[test]
fn a_device_that_is_used_is_closed_only_with_force() {
    let node = Node::new();
    node.works("-open_dev disk -handler vdisk_nullio");
    node.works(&format!("-add_target {IQN} -driver iscsi"));
    node.works(&format!(
        "-add_lun 0 -driver iscsi -target {IQN} -device disk"
    ));
    node.works("-add_dgrp g");
    node.works("-add_dgrp_dev disk -dev_group g");
    let (code, said) = node.fails("-close_dev disk -handler vdisk_nullio");
    assert_eq!(code, 23);
    assert!(said.contains("in use"), "{said}");
    node.works("-close_dev disk -handler vdisk_nullio -force");
    assert!(!node.shown("-list_device").contains(" disk"));
}

#[test]
fn values_of_a_repeated_attribute_come_and_go_one_by_one() {
    let node = Node::new();
    node.works(&format!("-add_target {IQN} -driver iscsi"));
    for portal in ["10.0.0.*", "!10.0.0.9"] {
        node.works(&format!(
            "-add_tgt_attr {IQN} -driver iscsi -attributes allowed_portal={portal}"
        ));
    }
    let list = format!("-list_tgt_attr {IQN} -driver iscsi");
    assert_eq!(node.shown(&list).matches("allowed_portal").count(), 2);
    node.works(&format!(
        "-rem_tgt_attr {IQN} -driver iscsi -attributes allowed_portal=10.0.0.*"
    ));
    assert_eq!(node.shown(&list).matches("allowed_portal").count(), 1);
    assert_eq!(
        node.fails(&format!(
            "-rem_tgt_attr {IQN} -driver iscsi -attributes allowed_portal=10.0.0.*"
        ))
        .0,
        46
    );
    // As one value with blanks between, as the published set-up has it.
    node.works(&format!(
        "-set_tgt_attr {IQN} -driver iscsi -attributes allowed_portal=\"192.168.122.99 192.168.152.99\""
    ));
    assert!(node.shown(&list).contains("192.168.152.99"));
}

#[test]
fn a_running_target_that_is_not_there_is_said() {
    let options = Options::parse(["-list_device".to_owned()]).unwrap();
    let mut peer = scstadmin::Unreachable("nobody is there".to_owned());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = scstadmin::run(
        options,
        &mut peer,
        &mut out,
        &mut err,
        &mut Operator(VecDeque::new()),
    );
    assert_eq!(code, 2);
    assert!(String::from_utf8(err).unwrap().contains("nobody is there"));
}

#[test]
fn a_configuration_is_written_for_its_owner_and_a_device_is_left_a_device() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let node = Node::new();
    node.works("-open_dev disk -handler vdisk_nullio");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scst.conf");
    node.works(&format!("-write_config {}", file.display()));
    assert!(std::fs::read_to_string(&file).unwrap().contains("disk"));
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    node.works("-write_config /dev/null");
    let null = std::fs::metadata("/dev/null").unwrap();
    assert!(null.file_type().is_char_device());
}

#[test]
fn a_secret_that_is_set_is_not_printed() {
    let node = Node::new();
    node.works(&format!("-add_target {IQN} -driver iscsi"));
    let out = node.works(&format!(
        "-set_tgt_attr {IQN} -driver iscsi -attributes \"IncomingUser=joe a-secret-of-16b\" -noprompt"
    ));
    assert!(
        out.contains("IncomingUser") && !out.contains("a-secret"),
        "{out}"
    );
}

#[test]
fn a_section_of_ib_srpt_is_made_written_cleared_and_applied_again() {
    const GID: &str = "fe80:0000:0000:0000:5054:00ff:fe77:0001";
    let node = Node::new();
    node.works("-open_dev disk -handler vdisk_nullio");
    node.works("-set_drv_attr ib_srpt -attributes rdma_cm_port=5555,use_srq=1 -noprompt");
    node.works(&format!("-add_target {GID} -driver ib_srpt"));
    node.works(&format!(
        "-set_tgt_attr {GID} -driver ib_srpt -attributes port_id=0x00000000000000010000000000000002 -noprompt"
    ));
    let of_target = format!("-driver ib_srpt -target {GID}");
    node.works(&format!("-add_group hosts {of_target}"));
    node.works(&format!("-add_init 192.0.2.* {of_target} -group hosts"));
    node.works(&format!("-add_lun 3 {of_target} -group hosts -device disk"));
    node.works(&format!("-enable_target {GID} -driver ib_srpt"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    node.works(&format!("-write_config {}", file("one")));
    let written = std::fs::read_to_string(file("one")).unwrap();
    for line in [
        "\trdma_cm_port 5555\n\tuse_srq 1\n",
        "\t\tHW_TARGET\n\t\tenabled 1\n",
        "port_id 0000:0000:0000:0001:0000:0000:0000:0002\n",
        "rel_tgt_id 1\n",
        "LUN 3 disk\n",
        "INITIATOR 192.0.2.*\n",
    ] {
        assert!(written.contains(line), "{line:?} in {written}");
    }
    node.works("-clear_config -force -noprompt");
    node.works(&format!("-write_config {}", file("none")));
    let cleared = std::fs::read_to_string(file("none")).unwrap();
    assert!(!cleared.contains(GID), "{cleared}");
    node.works(&format!("-config {} -force -noprompt", file("one")));
    node.works(&format!("-write_config {}", file("two")));
    assert_eq!(std::fs::read_to_string(file("two")).unwrap(), written);
}
