//! Receive buffers that channels share.

use lunforge_srp::testing::Send;

use crate::bed::{Bed, Recipe, disk, pattern, rw};

fn sharing(buffers: usize) -> Bed {
    let mut recipe = Recipe::default();
    recipe.limits.shared_receives = buffers;
    recipe.serve(disk())
}

fn bytes(bed: &Bed) -> usize {
    bed.census().iter().map(|census| census.buffer_bytes).sum()
}

#[test]
fn channels_of_a_shard_have_no_more_receives_than_they_share() {
    let mut bed = sharing(12);
    let one = bed.login(1);
    let first = bytes(&bed);
    let two = bed.login(2);
    let second = bytes(&bed);
    let three = bed.login(3);
    let third = bytes(&bed);
    // Ten for the first, what is left for the second, none but for answers for the third.
    let answers = third - second;
    let of_one = (first - answers) / 10;
    assert_eq!(second - first - answers, 2 * of_one);
    drop(one);
    bed.poll();
    assert_eq!(bytes(&bed), third - answers, "they stay for the others");
    drop((two, three));
    bed.assert_empty();
}

#[test]
fn one_buffer_is_enough_for_all_channels_and_what_waits_for_it_goes_on() {
    let mut bed = sharing(1);
    let mut channels = [bed.login(1), bed.login(2), bed.join(1)];
    let cdb = rw(0x28, 0, 512);
    let send = Send {
        cdb: &cdb,
        expected_in: 512,
        ..Send::default()
    };
    let tags = [0, 1, 2, 0, 1, 2].map(|n: usize| (n, channels[n].send(&send)));
    for (n, tag) in tags {
        assert_eq!(bed.wait(&mut channels[n], tag).status, 0, "{n} {tag}");
    }
    drop(channels);
    bed.assert_empty();
}

#[test]
fn no_command_brings_its_data_with_it_where_receives_are_shared() {
    for (buffers, immediate) in [(0, true), (8, false)] {
        let mut bed = sharing(buffers);
        let mut channel = bed.login(1);
        assert_eq!(channel.terms.unwrap().unwrap().immediate, immediate);
        let data = pattern(3, 4096);
        assert_eq!(bed.write(&mut channel, 1, &data).status, 0);
        assert!(bed.read(&mut channel, 1, 4096).data == data);
    }
}
