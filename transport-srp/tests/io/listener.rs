//! Where requests come in.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::{Engine, Target};
use lunforge_srp::SrpTransport;
use lunforge_srp::fabric::memory::{MemoryListener, Network};
use lunforge_srp::fabric::{Listener, Request, Waker};
use lunforge_srp::proto::iu::login::LoginForm;
use lunforge_srp::testing::{connect, login};

use crate::bed::{TARGET, disk, initiator};

/// A listener that something wakes once, and that has nothing until it has been polled some times.
struct Deaf {
    inner: MemoryListener,
    polls: u32,
}

impl Listener for Deaf {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&mut self, waker: Waker) {
        waker.wake();
    }

    fn poll(&mut self) -> Option<Request> {
        self.polls = self.polls.saturating_sub(1);
        if self.polls > 0 {
            return None;
        }
        self.inner.poll()
    }

    fn poll_again(&self) -> Option<Duration> {
        (self.polls > 0).then_some(Duration::from_secs(1))
    }
}

#[test]
fn a_listener_that_has_lost_its_place_is_polled_until_it_has_it_again() {
    let (engine, mut shards) = Engine::builder().shards(1).parts().unwrap();
    let target = Target::builder("disk").lun(0, disk()).build().unwrap();
    let (network, inner) = Network::new();
    let transport = SrpTransport::new()
        .listener(Box::new(Deaf { inner, polls: 4 }))
        .port("disk", TARGET);
    let _srp = engine.attach(transport, Arc::clone(&target)).unwrap();
    let (request, mut channel) =
        connect(&login(initiator(1), TARGET), LoginForm::Rdma, "192.0.2.1");
    assert!(network.connect(request));
    let begin = Instant::now();
    let mut answered = Vec::new();
    for second in 0..6 {
        for _ in 0..8 {
            shards[0].poll(begin + Duration::from_secs(second) + Duration::from_millis(500));
        }
        channel.pump();
        answered.push(channel.terms.is_some());
    }
    let first = answered.iter().position(|&answered| answered);
    assert_eq!(first, Some(3), "{answered:?}");
}
