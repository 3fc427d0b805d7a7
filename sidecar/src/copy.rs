//! Copies bytes between two streams, both ways, until both have ended.
//!
//! An end of stream on one side (FIN, or close_notify for TLS) is forwarded after
//! the last byte while the other direction goes on; an abort on one side is never forwarded as a
//! clean end. No buffer is held while a direction is idle: each worker thread has one scratch
//! buffer of [`SCRATCH_BYTES`], filled with everything that is ready and written at once. Only the
//! bytes that the other side does not accept are kept, in a buffer that is freed once written.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Large enough that syscalls do not decide the throughput, small enough that cache misses do not.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Scratch buffers that one direction may copy before the other is polled.
const MAX_ROUNDS: usize = 4;

/// The bytes copied each way so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// From the first stream to the second.
    pub(crate) sent: u64,
    /// From the second stream to the first.
    pub(crate) received: u64,
}

/// Copies until both directions have ended, keeping `bytes` current.
///
/// # Errors
/// The first failure of either stream. Both should then be reset, not closed.
///
/// # Cancel safety
/// Bytes in flight are lost; cancel only to abort.
pub(crate) async fn bidirectional<A, B>(a: &mut A, b: &mut B, bytes: &mut Bytes) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let sent = there.poll(cx, a, b, &mut bytes.sent)?;
        let received = back.poll(cx, b, a, &mut bytes.received)?;
        ready!(sent);
        ready!(received);
        Poll::Ready(Ok(()))
    })
    .await
}

/// One direction of a copy.
#[derive(Debug, Default)]
struct Direction {
    phase: Phase,
    /// Bytes that were read; those from `written` on are not written yet.
    kept: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// The source failed after bytes that are still to be written.
    broken: Option<io::Error>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The source has ended; the kept bytes are written, then the end is forwarded.
    Ending,
    Ended,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Direction {
    /// Copies what is ready, up to [`MAX_ROUNDS`] scratch buffers; ready once the end of `from` was
    /// forwarded to `to`.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        total: &mut u64,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.phase == Phase::Ended {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..MAX_ROUNDS {
            ready!(self.poll_write_kept(cx, to))?;
            if self.phase == Phase::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.phase = Phase::Ended;
                return Poll::Ready(Ok(()));
            }
            let pending = SCRATCH.with_borrow_mut(|scratch| {
                scratch.resize(SCRATCH_BYTES, 0);
                let (read, pending) = self.poll_fill(cx, from, scratch)?;
                *total += read as u64;
                self.write_or_keep(cx, to, &scratch[..read])?;
                Ok::<bool, io::Error>(pending)
            })?;
            if pending && self.kept.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads until the scratch is full, the source ends, or nothing more is ready (`true`).
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        scratch: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let mut buffer = ReadBuf::new(scratch);
        while buffer.remaining() > 0 {
            let before = buffer.filled().len();
            match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok((before, true)),
                Poll::Ready(Err(error)) if before == 0 => return Err(error),
                Poll::Ready(Err(error)) => {
                    self.broken = Some(error);
                    break;
                }
                Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                    self.phase = Phase::Ending;
                    break;
                }
                Poll::Ready(Ok(())) => {}
            }
        }
        Ok((buffer.filled().len(), false))
    }

    /// Writes what can be written now and keeps the rest.
    fn write_or_keep<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => bytes = &bytes[count..],
                Poll::Pending => {
                    self.kept = bytes.to_vec();
                    break;
                }
            }
            self.unflushed = true;
        }
        Ok(())
    }

    /// Writes the kept bytes; ready once none is left.
    fn poll_write_kept<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.written < self.kept.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.kept[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
        }
        if !self.kept.is_empty() {
            (self.kept, self.written) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}
