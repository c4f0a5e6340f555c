//! The one place that says in which form configurations are.

use lunforge_daemon::control::Dialect;
use lunforge_daemon::control::paper::Plain;

/// Of scst.conf.
pub(crate) fn dialect() -> impl Dialect {
    Plain
}
