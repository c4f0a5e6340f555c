//! One connection of an NBD client: negotiation, then requests in order.
//!
//! Clients are the machine emulators of our own tests; lengths are bounded all the same.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Disks, VolatileDisk};

const HELLO: u64 = 0x4e42_444d_4147_4943; // NBDMAGIC
const OPTION: u64 = 0x4948_4156_454f_5054; // IHAVEOPT
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// Fixed newstyle, no zero bytes after it.
const HANDSHAKE_FLAGS: u16 = 3;
/// Flags are there, flush, FUA.
const TRANSMISSION_FLAGS: u16 = 1 | 4 | 8;

const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUPPORTED: u32 = 1 << 31 | 1;
const REP_ERR_UNKNOWN: u32 = 1 << 31 | 6;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISCONNECT: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_FLAG_FUA: u16 = 1;

const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// Longest option and longest transfer, bytes.
const MAX_OPTION: u32 = 4096;
const MAX_TRANSFER: u32 = 32 << 20;

/// Serves a client until it leaves.
pub(super) fn serve(mut stream: UnixStream, disks: &Disks) -> io::Result<()> {
    let Some(disk) = negotiate(&mut stream, disks)? else {
        return Ok(());
    };
    while request(&mut stream, disk)? {}
    Ok(())
}

fn negotiate<'a>(
    stream: &mut UnixStream,
    disks: &'a Disks,
) -> io::Result<Option<&'a Mutex<VolatileDisk>>> {
    let hello = [
        &HELLO.to_be_bytes()[..],
        &OPTION.to_be_bytes(),
        &HANDSHAKE_FLAGS.to_be_bytes(),
    ]
    .concat();
    stream.write_all(&hello)?;
    let _client_flags: [u8; 4] = take(stream)?;
    loop {
        let magic = u64::from_be_bytes(take(stream)?);
        let option = u32::from_be_bytes(take(stream)?);
        let len = u32::from_be_bytes(take(stream)?);
        if magic != OPTION || len > MAX_OPTION {
            return Err(protocol("no option"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPT_ABORT => {
                answer(stream, option, REP_ACK, &[])?;
                return Ok(None);
            }
            OPT_GO | OPT_INFO => {
                let Some(disk) = named(&data, disks) else {
                    answer(stream, option, REP_ERR_UNKNOWN, &[])?;
                    continue;
                };
                describe(stream, option, lock(disk).size())?;
                if option == OPT_GO {
                    return Ok(Some(disk));
                }
            }
            _ => answer(stream, option, REP_ERR_UNSUPPORTED, &[])?,
        }
    }
}

/// The export that NBD_OPT_GO's data names.
fn named<'a>(data: &[u8], disks: &'a Disks) -> Option<&'a Mutex<VolatileDisk>> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    let found = disks.iter().find(|(known, _)| known.as_bytes() == name)?;
    Some(&found.1)
}

/// NBD_INFO_EXPORT, NBD_INFO_BLOCK_SIZE, and the end.
fn describe(stream: &mut UnixStream, option: u32, size: u64) -> io::Result<()> {
    let export = [
        &0_u16.to_be_bytes()[..],
        &size.to_be_bytes(),
        &TRANSMISSION_FLAGS.to_be_bytes(),
    ]
    .concat();
    let blocks = [
        &3_u16.to_be_bytes()[..],
        &512_u32.to_be_bytes(),
        &4096_u32.to_be_bytes(),
        &MAX_TRANSFER.to_be_bytes(),
    ]
    .concat();
    answer(stream, option, REP_INFO, &export)?;
    answer(stream, option, REP_INFO, &blocks)?;
    answer(stream, option, REP_ACK, &[])
}

fn answer(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let len = u32::try_from(data.len()).map_err(|_| protocol("too long an answer"))?;
    let reply = [
        &OPTION_REPLY.to_be_bytes()[..],
        &option.to_be_bytes(),
        &kind.to_be_bytes(),
        &len.to_be_bytes(),
        data,
    ]
    .concat();
    stream.write_all(&reply)
}

/// Serves one request; false when the client takes its leave.
fn request(stream: &mut UnixStream, disk: &Mutex<VolatileDisk>) -> io::Result<bool> {
    let magic = match take(stream) {
        Ok(magic) => u32::from_be_bytes(magic),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(e) => return Err(e),
    };
    let flags = u16::from_be_bytes(take(stream)?);
    let command = u16::from_be_bytes(take(stream)?);
    let cookie: [u8; 8] = take(stream)?;
    let offset = u64::from_be_bytes(take(stream)?);
    let len = u32::from_be_bytes(take(stream)?);
    if magic != REQUEST || len > MAX_TRANSFER {
        return Err(protocol("no request"));
    }
    let mut data = Vec::new();
    let done = match command {
        CMD_DISCONNECT => return Ok(false),
        CMD_READ => {
            data.resize(len as usize, 0);
            lock(disk).read(offset, &mut data)
        }
        CMD_WRITE => {
            let mut data = vec![0; len as usize];
            stream.read_exact(&mut data)?;
            lock(disk).write(offset, &data, flags & CMD_FLAG_FUA != 0)
        }
        CMD_FLUSH => lock(disk).flush(),
        _ => Err(protocol("an unknown command")),
    };
    let error = match &done {
        Ok(()) => 0,
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => EINVAL,
        Err(_) => EIO,
    };
    let head = [&REPLY.to_be_bytes()[..], &error.to_be_bytes(), &cookie].concat();
    stream.write_all(&head)?;
    if error == 0 {
        stream.write_all(&data)?;
    }
    Ok(true)
}

/// A disk whose server thread panicked has no rule that could be broken.
fn lock(disk: &Mutex<VolatileDisk>) -> MutexGuard<'_, VolatileDisk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn protocol(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
