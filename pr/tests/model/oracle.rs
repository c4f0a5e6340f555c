//! The second state machine: a list of rows.

/// Initiators 0 to 3, target ports 1 and 2.
pub(super) type Who = (u8, u16);

pub(super) const INITIATORS: std::ops::Range<u8> = 0..4;
pub(super) const PORTS: [u16; 2] = [1, 2];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Register {
        present: u64,
        new: u64,
        all: bool,
        aptpl: bool,
        listed: Option<(u8, u8)>,
    },
    Ignore {
        new: u64,
        all: bool,
        aptpl: bool,
    },
    Reserve {
        own: u64,
        kind: u8,
    },
    Release {
        own: u64,
        kind: u8,
    },
    Clear {
        own: u64,
    },
    Preempt {
        own: u64,
        victim: u64,
        kind: u8,
        abort: bool,
    },
    Move {
        own: u64,
        new: u64,
        unregister: bool,
        to: Who,
    },
    Reserve6,
    Release6,
    Lost,
    Reset,
    In,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Good,
    Conflict,
    Check(u8, u8),
}
pub(super) use End::{Check, Conflict, Good};

pub(super) const BAD_LIST: End = Check(0x26, 0);
pub(super) const BAD_CDB: End = Check(0x24, 0);

#[derive(Default, Clone, Debug)]
pub(super) struct Model {
    /// One row for each registration.
    pub(super) rows: Vec<(Who, u64)>,
    /// TYPE and, where there is one, the single holder.
    pub(super) reservation: Option<(u8, Option<Who>)>,
    pub(super) generation: u32,
    pub(super) aptpl: bool,
    pub(super) spc2: Option<Who>,
    /// What the last step told whom.
    pub(super) told: Vec<(Who, u8)>,
    pub(super) aborted: Vec<Who>,
}

impl Model {
    fn key(&self, who: Who) -> u64 {
        self.rows
            .iter()
            .find(|row| row.0 == who)
            .map_or(0, |row| row.1)
    }

    fn put(&mut self, who: Who, key: u64) {
        self.rows.retain(|row| row.0 != who);
        if key != 0 {
            self.rows.push((who, key));
        }
    }

    pub(super) fn holders(&self) -> Vec<Who> {
        match self.reservation {
            None => vec![],
            Some((7 | 8, _)) => self.rows.iter().map(|row| row.0).collect(),
            Some((_, holder)) => holder.into_iter().collect(),
        }
    }

    fn tell_all_but(&mut self, me: Who, ascq: u8) {
        for (who, _) in self.rows.clone() {
            if who != me {
                self.told.push((who, ascq));
            }
        }
    }

    /// SPC-4 5.13.11.3: what leaving does to the reservation.
    fn leave(&mut self, leavers: &[Who], me: Who) {
        let Some((kind, holder)) = self.reservation else {
            self.rows.retain(|row| !leavers.contains(&row.0));
            return;
        };
        self.rows.retain(|row| !leavers.contains(&row.0));
        let over = match kind {
            7 | 8 => self.rows.is_empty(),
            _ => leavers.contains(&holder.unwrap()),
        };
        if over {
            self.reservation = None;
            if kind >= 5 {
                self.tell_all_but(me, 4);
            }
        }
    }

    pub(super) fn step(&mut self, me: Who, step: Step) -> End {
        self.told.clear();
        self.aborted.clear();
        let persistent = !matches!(
            step,
            Step::Reserve6 | Step::Release6 | Step::Lost | Step::Reset
        );
        if persistent && self.spc2.is_some() {
            return Conflict;
        }
        let mine = self.key(me);
        let ports = |all: bool| if all { PORTS.to_vec() } else { vec![me.1] };
        match step {
            Step::Register {
                present,
                new,
                all,
                aptpl,
                listed,
            } => match (mine, present, new) {
                (0, 0, 0) => return Good,
                (0, 0, _) => {
                    let names = [Some(me.0), listed.map(|l| l.0), listed.map(|l| l.1)];
                    let new_rows: Vec<Who> = names
                        .into_iter()
                        .flatten()
                        .flat_map(|name| ports(all).into_iter().map(move |port| (name, port)))
                        .collect();
                    if new_rows.iter().any(|who| self.key(*who) != 0) {
                        return Conflict;
                    }
                    new_rows.into_iter().for_each(|who| self.put(who, new));
                    self.aptpl = aptpl;
                }
                _ if mine != present => return Conflict,
                _ if listed.is_some() => return BAD_LIST,
                (_, _, new) => {
                    let same: Vec<Who> = ports(all)
                        .into_iter()
                        .map(|p| (me.0, p))
                        .filter(|w| self.key(*w) == mine)
                        .collect();
                    if new == 0 {
                        self.leave(&same, me);
                    } else {
                        same.into_iter().for_each(|who| self.put(who, new));
                    }
                    self.aptpl = aptpl;
                }
            },
            Step::Ignore { new, all, aptpl } => {
                if (mine, new) == (0, 0) {
                    return Good;
                }
                let here: Vec<Who> = ports(all).into_iter().map(|p| (me.0, p)).collect();
                if new == 0 {
                    let same: Vec<Who> =
                        here.into_iter().filter(|w| self.key(*w) == mine).collect();
                    self.leave(&same, me);
                } else {
                    here.into_iter().for_each(|who| self.put(who, new));
                }
                self.aptpl = aptpl;
            }
            Step::Reserve { own, kind } => {
                if ![1, 3, 5, 6, 7, 8].contains(&kind) {
                    return BAD_CDB;
                }
                if mine == 0 || mine != own {
                    return Conflict;
                }
                match self.reservation {
                    None => self.reservation = Some((kind, (kind < 7).then_some(me))),
                    Some((present, _)) if present == kind && self.holders().contains(&me) => {}
                    Some(_) => return Conflict,
                }
                return Good;
            }
            Step::Release { own, kind } => {
                if ![1, 3, 5, 6, 7, 8].contains(&kind) {
                    return BAD_CDB;
                }
                if mine == 0 || mine != own {
                    return Conflict;
                }
                if self.holders().contains(&me) {
                    if self.reservation.unwrap().0 != kind {
                        return Check(0x26, 4);
                    }
                    self.reservation = None;
                    if kind >= 5 {
                        self.tell_all_but(me, 4);
                    }
                }
                return Good;
            }
            Step::Clear { own } => {
                if mine == 0 || mine != own {
                    return Conflict;
                }
                self.tell_all_but(me, 3);
                self.rows.clear();
                self.reservation = None;
            }
            Step::Preempt {
                own,
                victim,
                kind,
                abort,
            } => {
                if mine == 0 || mine != own {
                    return Conflict;
                }
                let all_registrants = matches!(self.reservation, Some((7 | 8, _)));
                let of_holder = match self.reservation {
                    Some((1..=6, Some(holder))) => self.key(holder) == victim,
                    _ => false,
                };
                if victim == 0 && !all_registrants {
                    return BAD_LIST;
                }
                if of_holder || (all_registrants && victim == 0) {
                    if ![1, 3, 5, 6, 7, 8].contains(&kind) {
                        return BAD_CDB;
                    }
                    let old_kind = self.reservation.unwrap().0;
                    for (who, key) in self.rows.clone() {
                        if who == me {
                            continue;
                        }
                        if victim == 0 || key == victim {
                            self.put(who, 0);
                            self.told.push((who, 5));
                        } else if old_kind != kind {
                            self.told.push((who, 4));
                        }
                    }
                    self.reservation = Some((kind, (kind < 7).then_some(me)));
                } else {
                    let gone: Vec<Who> = self
                        .rows
                        .iter()
                        .filter(|row| row.1 == victim)
                        .map(|row| row.0)
                        .collect();
                    if gone.is_empty() {
                        return Conflict;
                    }
                    for who in gone {
                        self.put(who, 0);
                        if who != me {
                            self.told.push((who, 5));
                        }
                    }
                    if self.rows.is_empty() {
                        self.reservation = None;
                    }
                }
                if abort {
                    self.aborted = self.told.iter().filter(|t| t.1 == 5).map(|t| t.0).collect();
                }
            }
            Step::Move {
                own,
                new,
                unregister,
                to,
            } => {
                if mine == 0 || mine != own {
                    return Conflict;
                }
                match self.reservation {
                    None => return BAD_CDB,
                    Some((1..=6, Some(holder))) if holder == me => {}
                    Some(_) => return Conflict,
                }
                if new == 0 || to == me {
                    return BAD_LIST;
                }
                self.put(to, new);
                self.reservation = self.reservation.map(|(kind, _)| (kind, Some(to)));
                if unregister {
                    self.put(me, 0);
                }
                self.aptpl = false;
            }
            Step::Reserve6 | Step::Release6 => {
                if !self.rows.is_empty() {
                    let holds = self.holders().contains(&me);
                    let shares = matches!(self.reservation, Some((5..=8, _))) && mine != 0;
                    return if holds || shares { Good } else { Conflict };
                }
                match (step, self.spc2) {
                    (Step::Reserve6, None) => self.spc2 = Some(me),
                    (Step::Reserve6, Some(holder)) if holder != me => return Conflict,
                    (Step::Release6, Some(holder)) if holder == me => self.spc2 = None,
                    _ => {}
                }
                return Good;
            }
            Step::Lost => {
                self.spc2 = self.spc2.filter(|holder| *holder != me);
                return Good;
            }
            Step::Reset => {
                self.spc2 = None;
                return Good;
            }
            Step::In => return Good,
        }
        self.generation += 1;
        Good
    }

    /// Whether a nexus may read, write, ask for mode pages, and test the unit.
    pub(super) fn may(&self, me: Who) -> [bool; 4] {
        if let Some(holder) = self.spc2 {
            return [holder == me; 4];
        }
        let Some((kind, holder)) = self.reservation else {
            return [true; 4];
        };
        let full = if kind < 5 {
            holder == Some(me)
        } else {
            self.key(me) != 0
        };
        let reads = matches!(kind, 1 | 5 | 7);
        [full || reads, full, full || reads, true]
    }
}
