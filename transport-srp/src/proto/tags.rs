//! The tags of a session that are in use, over all of its channels.

use std::collections::BTreeMap;

/// A request's place: its channel's number in the session, and its place there. The core knows requests by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Number of the channel, never used again in the session.
    pub channel: u32,
    /// Place among the channel's requests; used again when the request has ended.
    pub index: u32,
}

impl TaskId {
    /// As one number.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.channel) << 32 | u64::from(self.index)
    }

    /// Back from one number.
    #[must_use]
    pub fn from_u64(raw: u64) -> Self {
        Self {
            channel: (raw >> 32) as u32,
            index: raw as u32,
        }
    }
}

/// See the module's head. Two channels may use one tag at a time.
#[derive(Debug, Default)]
pub struct Tags(BTreeMap<(u64, u32), u32>);

impl Tags {
    /// A request came. False: its channel has one of this tag already.
    pub fn insert(&mut self, tag: u64, task: TaskId) -> bool {
        match self.0.entry((tag, task.channel)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(task.index);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// A request has ended.
    pub fn remove(&mut self, tag: u64, channel: u32) {
        self.0.remove(&(tag, channel));
    }

    /// The request with this tag of a channel, or else of another one of the session: task management may come by any
    /// of them.
    #[must_use]
    pub fn find(&self, tag: u64, channel: u32) -> Option<TaskId> {
        if let Some(&index) = self.0.get(&(tag, channel)) {
            return Some(TaskId { channel, index });
        }
        let mut of_tag = self.0.range((tag, 0)..=(tag, u32::MAX));
        let (&(_, channel), &index) = of_tag.next()?;
        Some(TaskId { channel, index })
    }

    /// A channel is gone, and whatever it had.
    pub fn forget(&mut self, channel: u32) {
        self.0.retain(|(_, of), _| *of != channel);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_looked_for_on_its_own_channel_first() {
        let mut tags = Tags::default();
        let task = |channel, index| TaskId { channel, index };
        assert!(tags.insert(7, task(1, 4)));
        assert!(tags.insert(7, task(2, 5)));
        assert!(!tags.insert(7, task(2, 6)));
        assert_eq!(tags.find(7, 2), Some(task(2, 5)));
        assert_eq!(tags.find(7, 3), Some(task(1, 4)));
        tags.remove(7, 1);
        assert_eq!(tags.find(7, 1), Some(task(2, 5)));
        assert!(tags.insert(8, task(2, 6)));
        tags.forget(2);
        assert_eq!(tags.find(7, 1), None);
        assert!(tags.is_empty());
    }

    #[test]
    fn a_place_comes_back_from_its_number() {
        for raw in [0, 1, 1 << 32, u64::MAX, 0x1234_5678_9abc_def0] {
            assert_eq!(TaskId::from_u64(raw).to_u64(), raw);
        }
    }
}
