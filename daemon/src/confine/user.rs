//! The user whom the process becomes once ports and files are open.

use std::io;

use nix::unistd::{self, Gid, Uid};
use rustix::thread::CapabilitySet;

use super::rights::{self, RightsError};

/// Why the process cannot become a user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The system knows no such user.
    #[error("there is no user {0:?}")]
    NoUser(String),
    /// The system knows no such group.
    #[error("there is no group {0:?}")]
    NoGroup(String),
    /// A user number without an entry, and no group given.
    #[error("user number {0} has no entry and so no group: give {0}:GROUP")]
    NoPrimaryGroup(u32),
    /// Root is whom to get away from.
    #[error("--user must not be root")]
    Root,
    /// Only root can become another user.
    #[error("only root can become another user")]
    NotRoot,
    /// It is the user already, with groups that it may not leave.
    #[error(
        "this process is also in group(s) {0}, which --user does not give it, and has no right to leave them: start it \
         without them (setpriv --clear-groups), or as root"
    )]
    OtherGroups(String),
    /// The system refuses.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The old rights are still there or can be had back.
    #[error("the change of user did not hold: {0}")]
    NotHeld(&'static str),
    /// Capabilities could not be given up.
    #[error(transparent)]
    Rights(#[from] RightsError),
}

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
}

impl User {
    /// `NAME` or `NAME:GROUP`, names or numbers; without a group the user's own. Reads the user database.
    ///
    /// # Errors
    /// [`UserError`]: unknown, root, or this process may not become it.
    pub fn find(text: &str) -> Result<Self, UserError> {
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let (uid, primary) = find_user(name)?;
        if uid.is_root() {
            return Err(UserError::Root);
        }
        let gid = match (group, primary) {
            (Some(group), _) => find_group(group)?,
            (None, Some(gid)) => gid,
            (None, None) => return Err(UserError::NoPrimaryGroup(uid.as_raw())),
        };
        let user = Self { uid, gid };
        if unistd::geteuid().is_root() {
            return Ok(user);
        }
        if !user.is_current() {
            return Err(UserError::NotRoot);
        }
        if !may_set_groups() {
            user.has_no_other_groups()?;
        }
        Ok(user)
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// Its group's number.
    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    fn is_current(&self) -> bool {
        unistd::geteuid() == self.uid && unistd::getegid() == self.gid
    }

    /// Groups beside its own: they may open what the user and group that were asked for may not.
    fn has_no_other_groups(&self) -> Result<(), UserError> {
        let groups = unistd::getgroups().map_err(|errno| UserError::Refused {
            what: "read the supplementary groups",
            source: errno.into(),
        })?;
        let others = others(&groups, self.gid);
        if others.is_empty() {
            Ok(())
        } else {
            Err(UserError::OtherGroups(others))
        }
    }

    /// Becomes this user for good: no supplementary groups, real, effective and saved numbers, no capabilities. Looks
    /// afterwards whether it holds.
    ///
    /// # Errors
    /// [`UserError`]; the process is to end then.
    pub fn become_it(&self) -> Result<(), UserError> {
        let refused = |what| {
            move |errno: nix::Error| UserError::Refused {
                what,
                source: errno.into(),
            }
        };
        rights::shrink_bounds(CapabilitySet::empty());
        if may_set_groups() {
            unistd::setgroups(&[]).map_err(refused("drop the supplementary groups"))?;
        }
        if unistd::geteuid().is_root() {
            unistd::setresgid(self.gid, self.gid, self.gid).map_err(refused("change the group"))?;
            unistd::setresuid(self.uid, self.uid, self.uid).map_err(refused("change the user"))?;
        }
        rustix::thread::clear_ambient_capability_set().map_err(|errno| UserError::Refused {
            what: "clear the ambient capabilities",
            source: errno.into(),
        })?;
        rights::reduce_to(CapabilitySet::empty())?;
        self.verify()
    }

    fn verify(&self) -> Result<(), UserError> {
        let held = |what, ok: bool| {
            if ok {
                Ok(())
            } else {
                Err(UserError::NotHeld(what))
            }
        };
        let users = unistd::getresuid().is_ok_and(|ids| {
            [ids.real, ids.effective, ids.saved]
                .iter()
                .all(|id| *id == self.uid)
        });
        held("its user is another", users)?;
        let groups = unistd::getresgid().is_ok_and(|ids| {
            [ids.real, ids.effective, ids.saved]
                .iter()
                .all(|id| *id == self.gid)
        });
        held("its group is another", groups)?;
        self.has_no_other_groups()?;
        let root = Uid::from_raw(0);
        let back = unistd::setresuid(root, root, root).is_ok() || unistd::setuid(root).is_ok();
        held("root can be had back", !back)
    }
}

/// Whether the kernel lets this process change its supplementary groups (setgroups(2)).
fn may_set_groups() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETGID))
}

/// Those of `groups` that are not `own`, by number.
fn others(groups: &[Gid], own: Gid) -> String {
    let others = groups.iter().filter(|gid| **gid != own);
    others
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn find_user(name: &str) -> Result<(Uid, Option<Gid>), UserError> {
    let unknown = || UserError::NoUser(name.to_owned());
    if let Ok(number) = name.parse() {
        let uid = Uid::from_raw(number);
        let entry = unistd::User::from_uid(uid).ok().flatten();
        return Ok((uid, entry.map(|user| user.gid)));
    }
    let entry = unistd::User::from_name(name).ok().flatten();
    let user = entry.ok_or_else(unknown)?;
    Ok((user.uid, Some(user.gid)))
}

fn find_group(name: &str) -> Result<Gid, UserError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let entry = unistd::Group::from_name(name).ok().flatten();
    entry
        .map(|group| group.gid)
        .ok_or_else(|| UserError::NoGroup(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_beside_its_own_are_named() {
        let groups = [7, 4, 27].map(Gid::from_raw);
        assert_eq!(others(&groups, Gid::from_raw(7)), "4, 27");
        assert_eq!(others(&groups[..1], Gid::from_raw(7)), "");
    }

    #[test]
    fn who_cannot_be_become_is_refused_beforehand() {
        assert!(matches!(User::find("root"), Err(UserError::Root)));
        assert!(matches!(User::find("0:1"), Err(UserError::Root)));
        assert!(matches!(
            User::find("no such user"),
            Err(UserError::NoUser(_))
        ));
        assert!(matches!(User::find(""), Err(UserError::NoUser(_))));
        assert!(matches!(
            User::find("nobody:no such group"),
            Err(UserError::NoGroup(_))
        ));
        assert!(matches!(
            User::find("3999999999"),
            Err(UserError::NoPrimaryGroup(_))
        ));
        if unistd::geteuid().is_root() {
            let user = User::find("65534:7").unwrap();
            assert_eq!((user.uid(), user.gid()), (65534, 7));
        } else {
            assert!(matches!(
                User::find("3999999999:7"),
                Err(UserError::NotRoot)
            ));
        }
    }
}
