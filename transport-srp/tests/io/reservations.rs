//! Reservations and COMPARE AND WRITE: by initiator port, not by channel.

use lunforge_srp::testing::{Channel, Reply, Send};

use crate::bed::{Bed, initiator, pattern};

const CONFLICT: u8 = 0x18;

fn list(key: u64, new: u64) -> Vec<u8> {
    let mut list = vec![0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&new.to_be_bytes());
    list
}

fn reserve_out(bed: &mut Bed, channel: &mut Channel, action: u8, kind: u8, list: &[u8]) -> Reply {
    let cdb = [0x5F, action, kind, 0, 0, 0, 0, 0, list.len() as u8, 0];
    let send = Send {
        cdb: &cdb,
        data_out: list,
        ..Send::default()
    };
    bed.run(channel, &send)
}

fn reserve_in(bed: &mut Bed, channel: &mut Channel, action: u8) -> Vec<u8> {
    let cdb = [0x5E, action, 0, 0, 0, 0, 0, 1, 0, 0];
    let send = Send {
        cdb: &cdb,
        expected_in: 256,
        ..Send::default()
    };
    bed.run(channel, &send).data
}

#[test]
fn a_reservation_is_that_of_the_initiator_port_on_all_of_its_channels() {
    let mut bed = Bed::new();
    let mut one = bed.login(1);
    let mut two = bed.join(1);
    let mut other = bed.login(2);
    assert_eq!(reserve_out(&mut bed, &mut one, 0, 0, &list(0, 5)).status, 0);
    // Write exclusive, by the other channel.
    assert_eq!(reserve_out(&mut bed, &mut two, 1, 1, &list(5, 0)).status, 0);
    let data = pattern(1, 512);
    assert_eq!(bed.write(&mut one, 0, &data).status, 0);
    assert_eq!(bed.write(&mut two, 0, &data).status, 0);
    assert_eq!(bed.write(&mut other, 0, &data).status, CONFLICT);
    assert!(bed.read(&mut other, 0, 512).data == data);
    // One registration, with the TransportID of the protocol.
    let status = reserve_in(&mut bed, &mut other, 3);
    assert_eq!(status[4..8], [0, 0, 0, 48]);
    assert_eq!((status[8 + 7], status[8 + 12] & 1), (5, 1));
    assert_eq!(status[8 + 20..8 + 24], [0, 0, 0, 24]);
    assert_eq!(
        (status[8 + 24], &status[8 + 32..8 + 48]),
        (4, &initiator(1).0[..])
    );
    // The reservation outlives its session, and its initiator has it again when it comes back.
    drop((one, two));
    bed.poll();
    assert_eq!(bed.write(&mut other, 0, &data).status, CONFLICT);
    let mut again = bed.login(1);
    assert_eq!(bed.write(&mut again, 0, &data).status, 0);
    // Preempt and abort by the other port.
    assert_eq!(
        reserve_out(&mut bed, &mut other, 0, 0, &list(0, 6)).status,
        0
    );
    assert_eq!(
        reserve_out(&mut bed, &mut other, 5, 1, &list(6, 5)).status,
        0
    );
    assert_eq!(bed.command(&mut again, &[0; 6]).asc(), Some((0x2A, 5)));
    assert_eq!(bed.write(&mut again, 0, &data).status, CONFLICT);
    assert_eq!(bed.write(&mut other, 0, &data).status, 0);
}

#[test]
fn a_registration_is_made_for_another_srp_port_by_its_transport_id() {
    let mut bed = Bed::new();
    let mut one = bed.login(1);
    let mut two = bed.login(2);
    let mut list = list(0, 9);
    // SPEC_I_PT.
    list[20] = 0x08;
    list.extend(24u32.to_be_bytes());
    initiator(2).transport_id().emit(&mut list);
    assert_eq!(reserve_out(&mut bed, &mut one, 0, 0, &list).status, 0);
    assert_eq!(
        reserve_out(&mut bed, &mut two, 1, 3, &self::list(9, 0)).status,
        0
    );
    let data = pattern(2, 512);
    assert_eq!(bed.write(&mut one, 0, &data).status, CONFLICT);
    assert_eq!(bed.write(&mut two, 0, &data).status, 0);
}

#[test]
fn of_two_that_compare_and_write_the_same_over_two_channels_one_wins() {
    let mut bed = Bed::new();
    let mut channels = [bed.login(1), bed.join(1)];
    let old = vec![0; 512];
    assert_eq!(bed.write(&mut channels[0], 7, &old).status, 0);
    let mut current = old;
    for round in 1..=40u8 {
        let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0];
        let tags: Vec<u64> = channels
            .iter_mut()
            .zip([round, round + 100])
            .map(|(channel, seed)| {
                let data = [current.clone(), pattern(seed, 512)].concat();
                channel.send(&Send {
                    cdb: &cdb,
                    data_out: &data,
                    ..Send::default()
                })
            })
            .collect();
        let replies: Vec<Reply> = channels
            .iter_mut()
            .zip(tags)
            .map(|(channel, tag)| bed.wait(channel, tag))
            .collect();
        let winners: Vec<usize> = (0..2).filter(|i| replies[*i].status == 0).collect();
        let [winner] = winners[..] else {
            panic!("{round}: {replies:?}")
        };
        assert_eq!(replies[1 - winner].asc(), Some((0x1D, 0)));
        current = pattern(if winner == 0 { round } else { round + 100 }, 512);
        assert!(bed.read(&mut channels[round as usize % 2], 7, 512).data == current);
    }
}
