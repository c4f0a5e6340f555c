//! The initiator of the load generator, against a target that says anything: it trusts lengths from the wire no more than
//! the target does.

use lunforge_bench::initiator::chap::{self, Chap, Credentials};
use lunforge_bench::initiator::login::{Login, Step};
use lunforge_bench::initiator::pdu::{self, Digests, Header, Pdu, opcode};
use lunforge_bench::initiator::transfer::{Transfer, data_out_parts};
use lunforge_bench::initiator::{LoginError, Options, Residual, Sequence, Url, text};

/// Most that this side takes in one data segment.
const LIMIT: usize = 8192;
const MAX_BURST: u32 = 65_536;

/// Byte 0 chooses the part, byte 1 its setting; the rest comes from the target.
pub fn initiator(bytes: &[u8]) {
    let Some((&[part, setting], rest)) = bytes.split_first_chunk() else {
        return;
    };
    match part % 4 {
        0 => framing(setting, rest),
        1 => login(setting, rest),
        2 => transfer(setting, rest),
        _ => texts(rest),
    }
}

/// PDUs one after the other, whole or cut.
fn framing(setting: u8, mut rest: &[u8]) {
    let digests = Digests {
        header: setting & 1 != 0,
        data: setting & 2 != 0,
    };
    while let Ok(Some(frame)) = pdu::parse(rest, digests, LIMIT) {
        let len = frame.wire_len;
        assert!((pdu::BHS_LEN..=rest.len()).contains(&len));
        assert!(frame.data.len() <= LIMIT && frame.ahs.len() <= 1020);
        for cut in [0, 1, pdu::BHS_LEN - 1, len - 1] {
            assert!(matches!(pdu::parse(&rest[..cut], digests, LIMIT), Ok(None)));
        }
        let pdu = frame.to_pdu();
        let mut wire = Vec::new();
        pdu.emit(digests, &mut wire);
        let again = pdu::parse(&wire, digests, LIMIT);
        assert_eq!(again.expect("whole").expect("well formed").to_pdu(), pdu);
        rest = &rest[len..];
    }
}

/// Login Responses: flags, what is rare, length, text.
fn login(setting: u8, mut rest: &[u8]) {
    let (options, target) = options(setting);
    let mut login = Login::new(&options, target);
    check_request(&login.start());
    let mut stat_sn = 0;
    while let Some((&[flags, rare, low, high], tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
        let (data, next) = tail.split_at(len);
        rest = next;
        match login.reply(&response(flags, rare, stat_sn, data)) {
            Ok(Step::Send(request)) => check_request(&request),
            Ok(Step::Done(agreed, sequence)) => {
                assert!((512..=options.max_burst_length).contains(&agreed.max_burst_length));
                assert!(agreed.first_burst_length <= agreed.max_burst_length);
                assert!((512..1 << 24).contains(&agreed.target_max_recv_data_segment_length));
                assert!(options.header_digest || !agreed.header_digest);
                assert!(options.data_digest || !agreed.data_digest);
                assert_ne!(agreed.tsih, 0);
                let plan = agreed.write_plan(u32::MAX);
                assert!(plan.immediate + plan.unsolicited <= agreed.first_burst_length);
                assert_eq!(sequence.exp_stat_sn, stat_sn.wrapping_add(1));
                // Who asked for a proof got one, and nobody can make it without the secret.
                let asked = options.chap.is_some_and(|chap| chap.mutual.is_some());
                assert!(!asked || options.skip_security);
                return;
            }
            Err(error) => return refusal(&error),
        }
        stat_sn = stat_sn.wrapping_add(1);
    }
}

fn options(setting: u8) -> (Options, Option<&'static str>) {
    let bit = |mask: u8| setting & mask != 0;
    let mut chap = Chap::new("user", "a secret of sixteen");
    if bit(0x08) {
        chap.mutual = Some(Credentials {
            user: "target".into(),
            secret: b"another secret 16".to_vec(),
        });
    }
    let options = Options {
        header_digest: bit(0x01),
        data_digest: bit(0x02),
        chap: bit(0x04).then_some(chap),
        skip_security: bit(0x10),
        ..Options::default()
    };
    (options, (!bit(0x20)).then_some("iqn.2026-11.org.example:t"))
}

fn response(flags: u8, rare: u8, stat_sn: u32, data: &[u8]) -> Pdu {
    let code = if rare & 0x0F == 0x0F {
        rare >> 2
    } else {
        opcode::LOGIN_RESPONSE
    };
    let mut header = Header::new(code);
    header.put_flags(flags).put_word(24, stat_sn);
    header.put_word(28, 1).put_word(32, u32::from(rare));
    header.0[15] = u8::from(rare & 0x10 == 0);
    if rare & 0xE0 == 0xE0 {
        (header.0[36], header.0[37]) = (rare & 3, rare >> 2 & 7);
    }
    Pdu::new(header, data)
}

fn check_request(request: &Pdu) {
    let header = &request.header;
    assert_eq!(header.opcode(), opcode::LOGIN_REQUEST);
    let (csg, nsg) = (header.flags() >> 2 & 3, header.flags() & 3);
    assert!(header.flags() & 0x80 == 0 || nsg > csg);
    let keys = text::parse_text(&request.data).expect("what we send is text");
    assert!(keys.len() <= 4096);
}

fn refusal(error: &LoginError) {
    assert!(!error.to_string().is_empty());
}

/// Headers of Data-In, R2T and responses of one command.
fn transfer(setting: u8, rest: &[u8]) {
    let Some((&expected, headers)) = rest.split_first_chunk::<4>() else {
        return;
    };
    let expected = u32::from_be_bytes(expected) >> (setting >> 3);
    let mut transfer = match setting % 3 {
        0 => Transfer::read(expected),
        1 => Transfer::write(expected, expected.min(4096)),
        _ => Transfer::none(),
    };
    let mut sequence = Sequence {
        cmd_sn: 10,
        exp_stat_sn: 1,
        exp_cmd_sn: 9,
        max_cmd_sn: 12,
    };
    for header in headers.as_chunks::<48>().0 {
        let header = Header(*header);
        let max = sequence.max_cmd_sn;
        let _ = sequence.update_window(&header);
        assert!(
            sequence.max_cmd_sn.wrapping_sub(max) < 1 << 31,
            "MaxCmdSN went back"
        );
        let _ = sequence.advance_stat_sn(&header);
        if let Ok(offset) = transfer.data_in(&header, header.data_len()) {
            let end = offset as usize + header.data_len();
            assert!(header.data_len() == 0 || end <= transfer.expected as usize);
        }
        if let Ok(asked) = transfer.r2t(&header, MAX_BURST) {
            assert!(u64::from(asked.offset) + u64::from(asked.len) <= u64::from(expected));
            let parts = data_out_parts(asked.offset, asked.len, 512);
            assert_eq!(parts.map(|part| part.len).sum::<u32>(), asked.len);
        }
        assert!(transfer.received <= transfer.expected && transfer.requested <= expected);
        for good in [false, true] {
            if let Ok(Residual::Underflow(missing)) = transfer.finish(&header, good) {
                assert!(missing <= transfer.expected);
            }
        }
        let _ = transfer.exp_data_sn(&header);
    }
}

/// Texts of a target and of the command line.
fn texts(rest: &[u8]) {
    if let Ok(keys) = text::parse_text(rest) {
        let again = text::parse_text(&text::text(&keys));
        assert_eq!(again.ok().as_ref(), Some(&keys));
    }
    let Ok(words) = std::str::from_utf8(rest) else {
        return;
    };
    let _ = text::number(words);
    if let Some(binary) = chap::from_text(words) {
        assert!(binary.len() <= words.len());
        assert_eq!(chap::from_text(&chap::to_hex(&binary)), Some(binary));
    }
    if let Ok(url) = words.parse::<Url>() {
        assert!(!url.address().0.is_empty());
    }
}
