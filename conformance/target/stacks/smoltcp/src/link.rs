//! The wire: a descriptor on which one read gives one Ethernet frame and one write sends one.

use std::io;
use std::os::fd::RawFd;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

const ETHERNET_HEADER: usize = 14;
const LARGEST_FRAME: usize = 65_536;

pub struct Link {
    pub fd: RawFd,
    mtu: usize,
    /// The one frame that the stack is to look at next.
    next: Option<Vec<u8>>,
    /// How many frames were read and written since the start.
    pub frames_in: u64,
    pub frames_out: u64,
}

impl Link {
    /// `mtu` is octets of one IP packet.
    pub fn new(fd: RawFd, mtu: usize) -> io::Result<Self> {
        crate::checked(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } as isize)?;
        Ok(Link { fd, mtu, next: None, frames_in: 0, frames_out: 0 })
    }

    /// Read one frame for the stack; false where none is there.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut frame = vec![0; LARGEST_FRAME];
        match crate::checked(unsafe { libc::read(self.fd, frame.as_mut_ptr().cast(), frame.len()) }) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                frame.truncate(count);
                self.next = Some(frame);
                self.frames_in += 1;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, frame: &[u8]) {
        loop {
            match crate::checked(unsafe { libc::write(self.fd, frame.as_ptr().cast(), frame.len()) }) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut full = libc::pollfd { fd: self.fd, events: libc::POLLOUT, revents: 0 };
                    unsafe { libc::poll(&mut full, 1, -1) };
                }
                Err(error) => crate::end(&format!("can't write to the link: {error}")),
            }
        }
        self.frames_out += 1;
    }
}

impl Device for Link {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let frame = self.next.take()?;
        Some((RxToken(frame), TxToken(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut found = DeviceCapabilities::default();
        found.medium = Medium::Ethernet;
        found.max_transmission_unit = ETHERNET_HEADER + self.mtu;
        found
    }
}

pub struct RxToken(Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

pub struct TxToken<'a>(&'a mut Link);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.write(&frame);
        result
    }
}
