use proptest::prelude::*;

use super::*;

fn part(address: u64, len: u32) -> Remote {
    Remote {
        address,
        key: 7,
        len,
    }
}

fn local(addr: u64, len: usize, lkey: u32) -> Local {
    Local { addr, len, lkey }
}

#[test]
fn work_is_cut_where_memory_ends_on_either_side() {
    let mut locals = VecDeque::from([local(1000, 300, 1), local(9000, 300, 2)]);
    let mut pieces = Vec::new();
    let parts = [part(10, 100), part(500, 0), part(20, 400)];
    cut(true, &mut locals, &parts, |piece| pieces.push(piece));
    let piece = |local, remote| Piece {
        writes: true,
        local,
        remote,
        rkey: 7,
    };
    let expected = [
        piece(local(1000, 100, 1), 10),
        piece(local(1100, 200, 1), 20),
        piece(local(9000, 200, 2), 220),
    ];
    assert_eq!(pieces, expected);
    assert!(locals.is_empty());
}

/// A queue pair: what it was given, and how far it is.
#[derive(Default)]
struct Hardware {
    queue: VecDeque<(u64, Request, bool)>,
    /// Reads that wait for their data, while what is behind them completes.
    reads: VecDeque<u64>,
    late: bool,
    broken: bool,
}

type Told = (u64, Result<(), WorkError>);

impl Hardware {
    /// Does the first work request; `Some` is its completion.
    fn step(&mut self, fails: bool) -> Option<Told> {
        if self.late && !self.broken && !fails {
            while let Some((id, Request::Piece(Piece { writes: false, .. }), _)) =
                self.queue.front()
            {
                self.reads.push_back(*id);
                self.queue.pop_front();
            }
        }
        let read = self.reads.len() > 2 || self.queue.is_empty() || self.broken;
        let (id, signalled) = match self.reads.front().copied().filter(|_| read) {
            Some(id) => {
                self.reads.pop_front();
                (id, true)
            }
            None => self
                .queue
                .pop_front()
                .map(|(id, _, signalled)| (id, signalled))?,
        };
        let result = match (self.broken, fails) {
            (true, _) => Err(WorkError::Flushed),
            (false, true) => Err(WorkError::Remote),
            (false, false) => Ok(()),
        };
        self.broken |= fails;
        (signalled || result.is_err()).then_some((id, result))
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reads.is_empty()
    }
}

/// All that belongs to an endpoint but the hardware's side.
struct End {
    work: Work,
    places: Places,
    done: VecDeque<Completion>,
    hardware: Hardware,
    given: u64,
}

const PLACES: usize = 4;
const NOTHING: Request = Request::Send {
    place: 0,
    len: 0,
    solicited: false,
};
const IU: [u8; 36] = [0xC1; 36];

impl End {
    fn new(depth: usize) -> Self {
        Self {
            work: Work::new(depth),
            places: Places::new(IoBuf::unpooled(PLACES * 64).unwrap(), 64),
            done: VecDeque::new(),
            hardware: Hardware::default(),
            given: 0,
        }
    }

    fn op(&mut self, writes: bool, pieces: u64) {
        let mut locals = (0..pieces).map(|n| local(n << 32, 10, 0)).collect();
        let total = u32::try_from(pieces * 10).unwrap();
        let op = (self.given, writes, IoBuf::empty());
        self.given += 1;
        self.work.op(
            op,
            Vec::new(),
            &mut locals,
            &[part(0, total)],
            &mut self.done,
        );
    }

    /// Posts as an endpoint does; after so many the queue pair refuses.
    fn post(&mut self, batch: usize, refuses_after: usize) {
        let mut taken = Vec::new();
        while taken.len() < batch
            && let Some(request) = self.work.next(batch - taken.len(), &mut self.places)
        {
            taken.push(request);
        }
        let refused = taken.len().saturating_sub(refuses_after);
        taken.truncate(refuses_after);
        self.hardware.queue.extend(taken);
        if refused > 0 {
            self.work.refused(refused, &mut self.places, &mut self.done);
            if let Some(id) = self.work.marker() {
                self.hardware.queue.push_back((id, NOTHING, true));
            }
            self.hardware.broken = true;
        }
    }

    fn step(&mut self, fails: bool) {
        if let Some((id, result)) = self.hardware.step(fails) {
            self.work
                .completed(id, result, &mut self.places, &mut self.done);
        }
    }
}

#[test]
fn only_the_last_of_what_is_posted_together_asks_for_a_completion() {
    let mut end = End::new(32);
    end.op(true, 1);
    end.work.send(&IU, &mut end.places);
    end.op(true, 2);
    end.work.send(&IU, &mut end.places);
    let asked: Vec<_> = std::iter::from_fn(|| end.work.next(32, &mut end.places))
        .map(|(id, _, signalled)| (id, signalled))
        .collect();
    assert_eq!(
        asked,
        [(0, false), (1, false), (2, false), (3, false), (4, true)]
    );
    assert!(!end.places.all_free());
    end.work
        .completed(4, Ok(()), &mut end.places, &mut end.done);
    assert!(end.places.all_free());
    let names: Vec<_> = end
        .done
        .iter()
        .map(|done| match done {
            Completion::Wrote {
                id, result: Ok(()), ..
            } => format!("wrote {id}"),
            Completion::Sent => "sent".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["wrote 0", "sent", "wrote 1", "sent"]);
}

#[test]
fn a_read_and_one_in_a_quarter_of_the_queue_ask_for_a_completion() {
    let mut end = End::new(16);
    end.op(false, 1);
    end.op(true, 10);
    let asked: Vec<_> = std::iter::from_fn(|| end.work.next(32, &mut end.places))
        .map(|(_, _, signalled)| signalled)
        .collect();
    let t = true;
    let f = false;
    assert_eq!(asked, [t, f, f, f, t, f, f, f, t, f, t]);
}

#[test]
fn a_read_is_done_when_it_says_so_and_not_before() {
    let mut end = End::new(16);
    end.op(false, 1);
    end.op(true, 1);
    end.work.send(&IU, &mut end.places);
    while end.work.next(32, &mut end.places).is_some() {}
    end.work
        .completed(2, Ok(()), &mut end.places, &mut end.done);
    assert!(end.done.is_empty());
    end.work
        .completed(0, Ok(()), &mut end.places, &mut end.done);
    assert_eq!(end.done.len(), 3);
    assert!(matches!(
        end.done[0],
        Completion::Read {
            id: 0,
            result: Ok(()),
            ..
        }
    ));
}

proptest! {
    /// Whatever is posted, fails and is refused: every buffer and every place comes back once, and nothing is waited for that
    /// does not come.
    #[test]
    fn everything_comes_back_once_whatever_fails(
        depth in 1..20usize,
        batch in 1..8usize,
        script in prop::collection::vec((0..4u8, 1..5u64), 1..60),
        fails_at in 0..80usize,
        late: bool,
        refuses_at in prop::option::of((0..40usize, 0..4usize)),
    ) {
        let mut end = End::new(depth);
        end.hardware.late = late;
        let mut steps = 0;
        let mut posts = 0;
        let mut sends = 0;
        let mut dead = false;
        for (what, pieces) in script {
            if !dead {
                match what {
                    0 | 1 => end.op(what == 0, pieces),
                    2 => for _ in 0..pieces {
                        end.work.send(&IU, &mut end.places);
                        sends += 1;
                    },
                    _ => {}
                }
                let refuses = refuses_at.filter(|(at, _)| *at == posts);
                end.post(batch, refuses.map_or(usize::MAX, |(_, after)| after));
                posts += 1;
                dead = end.hardware.broken;
            }
            if what == 3 {
                steps += 1;
                end.step(steps == fails_at);
                if end.hardware.broken && !dead {
                    dead = true;
                    end.work.give_up(&mut end.places, &mut end.done);
                }
            }
        }
        // What is left moves on to the end.
        loop {
            if !dead {
                end.post(batch, usize::MAX);
            }
            if end.hardware.is_idle() {
                break;
            }
            end.step(false);
        }
        prop_assert_eq!(end.work.ops(), 0);
        prop_assert!(end.work.posted.is_empty() && end.work.todo.is_empty());
        prop_assert!(end.places.all_free());
        let mut ids: Vec<u64> = end.done.iter().filter_map(|done| match done {
            Completion::Wrote { id, .. } | Completion::Read { id, .. } => Some(*id),
            _ => None,
        }).collect();
        ids.sort_unstable();
        prop_assert_eq!(ids, (0..end.given).collect::<Vec<_>>());
        let sent = end.done.iter().filter(|done| matches!(done, Completion::Sent)).count();
        prop_assert!(sent <= sends && (dead || sent == sends));
    }
}
