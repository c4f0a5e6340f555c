//! Order over one task set or several: TST, QUEUE ALGORITHM MODIFIER (SPC-4 7.5.8).

use super::*;

#[test]
fn a_shared_set_orders_the_commands_of_all_shards() {
    let mut t = two(shared());
    t.hold(true);
    let first = t.bed.send(t.a, read(Simple));
    let ordered = t.bed.send(t.b, read(Ordered));
    let last = t.bed.send(t.a, read(Simple));
    assert_eq!(t.unit.held(), 1);
    t.unit.complete_all();
    assert_eq!(t.bed.wait(t.a, first).status, GOOD);
    t.settle();
    assert_eq!(t.unit.held(), 1, "the ordered one alone");
    t.unit.complete_all();
    assert_eq!(t.bed.wait(t.b, ordered).status, GOOD);
    t.settle();
    t.unit.complete_all();
    assert_eq!(t.bed.wait(t.a, last).status, GOOD);
}

#[test]
fn in_sets_of_their_own_nexuses_do_not_order_each_other() {
    let mut t = two(ControlMode::default());
    t.hold(true);
    t.bed.send(t.a, read(Simple));
    t.bed.send(t.b, read(Ordered));
    t.bed.send(t.a, read(Simple));
    assert_eq!(t.unit.held(), 3);
}

#[test]
fn an_aborted_command_of_another_shard_frees_its_place_in_a_shared_set() {
    let mut t = two(shared());
    t.hold(true);
    t.bed.send(t.a, read(Simple));
    let ordered = t.bed.send(t.b, read(Ordered));
    t.bed.send(t.a, read(Simple));
    assert_eq!(
        t.bed.tmf(t.b, 0, Function::AbortTask(ordered)),
        Response::Complete
    );
    t.settle();
    assert_eq!(t.unit.held(), 2);
}

#[test]
fn a_shard_that_ends_leaves_nothing_in_a_shared_set() {
    for (can_fence, held_after) in [(true, 2), (false, 1)] {
        let mut t = two(shared());
        t.unit.can_fence.store(can_fence, Relaxed);
        t.hold(true);
        // One that changes the medium: a stale read harms nobody.
        t.bed.send(t.b, write(Ordered));
        t.bed.send(t.b, write(Ordered));
        let waiting = t.bed.send(t.a, read(Simple));
        t.bed.end_shard(1);
        t.settle();
        assert_eq!(
            t.unit.held(),
            held_after,
            "its turn, if the medium is not closed"
        );
        t.unit.complete_all();
        let reply = t.bed.wait(t.a, waiting);
        let expected = if can_fence { None } else { Some((4, 1)) };
        assert_eq!(reply.asc(), expected);
        t.hold(false);
        assert_eq!(t.status(t.a, &READ_1), GOOD, "the stale command has ended");
    }
}

#[test]
fn with_restricted_reordering_no_simple_command_overtakes_another() {
    let mut t = two(ControlMode {
        restricted_reordering: true,
        ..ControlMode::default()
    });
    t.hold(true);
    let tags = [0; 3].map(|_| t.bed.send(t.a, read(Simple)));
    for tag in tags {
        assert_eq!(t.unit.held(), 1, "one at a time, in order");
        t.unit.complete_all();
        assert_eq!(t.bed.wait(t.a, tag).status, GOOD);
    }
    t.unit.control.lock().restricted_reordering = false;
    for _ in 0..3 {
        t.bed.send(t.a, read(Simple));
    }
    assert_eq!(t.unit.held(), 3);
}
