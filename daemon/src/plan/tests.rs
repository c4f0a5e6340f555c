//! What is planned, and what is refused.

use super::*;
use clap::Parser;

use crate::args::{Cli, Command};

fn plan(args: &str) -> anyhow::Result<Plan> {
    let words = ["lunforge", "export"]
        .into_iter()
        .chain(args.split_whitespace());
    let Command::Export(export) = Cli::try_parse_from(words)?.command else {
        panic!("another command");
    };
    Plan::new(&export)
}

fn refusal(args: &str) -> String {
    plan(args).unwrap_err().to_string()
}

#[test]
fn a_missing_file_needs_a_size_and_is_not_created_by_planning() {
    assert!(refusal("/nonexistent/disk.img").contains("--size"));
    assert!(refusal("/nonexistent/disk.img --size 1M").contains("no folder"));
    let path = std::env::temp_dir().join(format!("lunforge-plan-{}", std::process::id()));
    let plan = plan(&format!("{} --size 1M", path.display())).unwrap();
    assert_eq!(
        plan.luns[0].medium,
        Medium::NewFile {
            path: path.clone(),
            size: Size(1 << 20)
        }
    );
    assert!(!path.exists());
}

#[test]
fn sizes_must_be_whole_blocks() {
    assert!(refusal("--null 1000").contains("no multiple of 512"));
    assert!(refusal("--null 512 --block-size 4096").contains("no multiple of 4096"));
    assert!(plan("--null 512").is_ok());
}

#[test]
fn a_folder_is_no_disk_and_no_image() {
    assert!(refusal("/tmp").contains("neither a file nor a block device"));
    assert!(refusal("/tmp --cdrom").contains("neither a file nor a block device"));
    assert_eq!(
        refusal("/nonexistent.iso --cdrom"),
        "/nonexistent.iso does not exist"
    );
}

#[test]
fn names_portals_and_physical_blocks_are_checked() {
    assert!(refusal("--null 1M --target disk").contains("no iSCSI name"));
    assert!(refusal("--null 1M --target iqn.2026-11.x:A").contains("lower case"));
    assert!(refusal("--null 1M --portal 127.0.0.1:3260 --portal 127.0.0.1:3260").contains("twice"));
    assert!(refusal("--null 1M --physical-block-size 256").contains("power of two"));
    assert_eq!(
        plan("--null 1M --portal [::1]:3260").unwrap().portals[0].to_string(),
        "[::1]:3260"
    );
}

#[test]
fn srp_is_served_beside_iscsi_or_alone() {
    let alone = plan("--null 1M --srp 192.0.2.1:5555").unwrap();
    assert!(alone.portals.is_empty() && alone.srp.is_some());
    let beside = plan("--null 1M --srp 192.0.2.1:5555 --portal 127.0.0.1:3260").unwrap();
    assert_eq!((beside.portals.len(), beside.srp.is_some()), (1, true));
    assert!(plan("--null 1M").unwrap().srp.is_none());
    let named = "--srp 192.0.2.1:5555 --initiator 192.0.2.7";
    plan(&format!("--null 1M {named}")).unwrap();
    let both = format!("{named} --portal 127.0.0.1:3260 --initiator iqn.2026-11.org.example:a");
    let both = plan(&format!("--null 1M {both}")).unwrap();
    assert!(both.access.allows("iqn.2026-11.org.example:a"));
    assert!(!both.access.allows("iqn.2026-11.org.example:b"));
}

#[test]
fn what_srp_cannot_do_is_refused() {
    let srp = "--null 1M --srp 192.0.2.1:5555";
    assert!(refusal(&format!("{srp} --chap /nonexistent")).contains("prove nothing"));
    let iqn = "--initiator iqn.2026-11.org.example:a";
    assert!(refusal(&format!("{srp} {iqn}")).contains("name the address"));
    let address = "--initiator 192.0.2.7";
    assert!(refusal(&format!("{srp} {iqn} {address}")).contains("by SRP initiators"));
    let both = format!("{srp} --portal 127.0.0.1:3260 {address}");
    assert!(refusal(&both).contains("of iSCSI, too"));
    assert!(refusal(&format!("{srp} --record /tmp")).contains("--record is for iSCSI"));
    assert!(refusal(&format!("{srp} --srp 192.0.2.1:5555")).contains("twice"));
    assert!(refusal("--null 1M --srp 0.0.0.0:5555").contains("RDMA device"));
    assert!(refusal("--null 1M --srp 192.0.2.1:0").contains("and a port"));
}

#[test]
fn several_luns_never_share_a_serial_number() {
    let plan = plan("--null 1M --null 1M --serial S").unwrap();
    assert_eq!(
        (plan.luns[0].serial.as_str(), plan.luns[1].serial.as_str()),
        ("S-0", "S-1")
    );
    let plan = self::plan("--null 1M --null 1M").unwrap();
    assert_ne!(plan.luns[0].serial, plan.luns[1].serial);
}

#[test]
fn a_serial_number_is_the_same_before_and_after_its_file_is_created() {
    let dir = std::env::temp_dir().join(format!("lunforge-serial-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("disk.img");
    let before = plan(&format!("{} --size 1M", path.display())).unwrap();
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let after = plan(&format!("{}", path.display())).unwrap();
    assert_eq!(before.luns[0].serial, after.luns[0].serial);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn mutual_chap_needs_chap() {
    assert!(plan("--null 1M --mutual-chap /nonexistent").is_err());
    assert!(refusal("--null 1M --chap /nonexistent").contains("cannot open"));
}

#[test]
fn initiators_and_users_are_checked() {
    assert!(refusal("--null 1M --initiator host").contains("no iSCSI name"));
    assert!(refusal("--null 1M --user no-such-user").contains("no user"));
    let plan = plan("--null 1M --initiator iqn.2026-11.org.example:a").unwrap();
    assert!(plan.access.allows("iqn.2026-11.org.example:a"));
    assert!(!plan.access.allows("iqn.2026-11.org.example:b"));
}
