//! Text requests in the full feature phase (RFC 7143 §6.4, §11.10).

use super::{Kind, Stage, lookup};
use crate::proto::text::{NOT_UNDERSTOOD, Pair, REJECT, TextError, TextWriter};

/// What a full-feature text request asks for.
#[derive(Debug)]
pub struct FullFeatureText<'a> {
    /// Answers so far; the answer to SendTargets follows them.
    pub out: TextWriter,
    /// Value of SendTargets, if asked.
    pub send_targets: Option<&'a str>,
}

/// Answers the pairs of a full-feature text request, except SendTargets, which is handed on.
///
/// Nothing that was negotiated at login changes here: a login key, and a new MaxRecvDataSegmentLength, is
/// answered `Reject` and keeps its value. An initiator's alias is taken without answer.
///
/// # Errors
/// [`TextError::TooLong`] if the answer exceeds `limit` bytes.
pub fn full_feature<'a>(
    pairs: &[Pair<'a>],
    limit: usize,
) -> Result<FullFeatureText<'a>, TextError> {
    let mut text = FullFeatureText {
        out: TextWriter::new(limit),
        send_targets: None,
    };
    for pair in pairs {
        match lookup(pair.key) {
            None => text.out.push(pair.key, NOT_UNDERSTOOD)?,
            Some((_, spec)) if spec.kind == Kind::Request => text.send_targets = Some(pair.value),
            Some((_, spec))
                if spec.kind == Kind::DeclaredText && spec.stages.contains(&Stage::FullFeature) => {
            }
            Some(_) => text.out.push(pair.key, REJECT)?,
        }
    }
    Ok(text)
}
