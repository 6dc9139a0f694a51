// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/proc/PID/maps`, byte by byte: proc_pid_maps(5), fs/proc/task_mmu.c.
//!
//! Lines may come in pieces, and are as long as their path. What is read of one is a few numbers.
//! Nothing larger than a few words is copied or zeroed, which may be a call of memcpy or memset.

/// Which of its fields a line is read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    End,
    Permissions,
    Offset,
    Device,
    Inode,
    Name,
}

/// A line, as far as it was read: a mapping at its end.
#[derive(Debug)]
pub(super) struct Line {
    field: Field,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_executable: bool,
    /// Major and minor number, to be compared only: their digits, and what is between them.
    pub(super) device: u64,
    /// 0: of no file.
    pub(super) inode: u64,
    /// The first four letters of a path, or of what the kernel calls a mapping of no file.
    name: u32,
}

impl Line {
    /// Nothing was read.
    pub(super) const EMPTY: Self = Self {
        field: Field::Start,
        start: 0,
        end: 0,
        is_executable: false,
        device: 0,
        inode: 0,
        name: 0,
    };

    /// Forgets what was read.
    pub(super) fn clear(&mut self) {
        self.field = Field::Start;
        self.start = 0;
        self.end = 0;
        self.is_executable = false;
        self.device = 0;
        self.inode = 0;
        self.name = 0;
    }

    /// Whether the line ends with this byte.
    pub(super) fn ends_with(&mut self, byte: u8) -> bool {
        match (self.field, byte) {
            (_, b'\n') => return true,
            (Field::Start, b'-') => self.field = Field::End,
            (Field::End, b' ') => self.field = Field::Permissions,
            (Field::Permissions, b' ') => self.field = Field::Offset,
            (Field::Offset, b' ') => self.field = Field::Device,
            (Field::Device, b' ') => self.field = Field::Inode,
            (Field::Inode, b' ') => self.field = Field::Name,
            (Field::Start, digit) => self.start = self.start << 4 | usize::from(hexadecimal(digit)),
            (Field::End, digit) => self.end = self.end << 4 | usize::from(hexadecimal(digit)),
            (Field::Permissions, letter) => self.is_executable |= letter == b'x',
            (Field::Device, letter) => self.device = self.device << 8 | u64::from(letter),
            (Field::Inode, digit) => {
                self.inode = self
                    .inode
                    .wrapping_mul(10)
                    .wrapping_add(hexadecimal(digit).into());
            }
            // Blanks before it are for the eye.
            (Field::Name, b' ') if self.name == 0 => {}
            (Field::Name, letter) if self.name >> 24 == 0 => {
                self.name = self.name << 8 | u32::from(letter);
            }
            (Field::Offset | Field::Name, _) => {}
        }
        false
    }

    /// Whether it is the kernel's, such as what makes system calls on some machines (`[vdso]`): all
    /// that has a name in brackets but the heap, stacks, and memory that was given a name.
    pub(super) fn is_kernels(&self) -> bool {
        self.inode == 0
            && self.name >> 24 == u32::from(b'[')
            && self.name != u32::from_be_bytes(*b"[hea")
            && self.name != u32::from_be_bytes(*b"[sta")
            && self.name != u32::from_be_bytes(*b"[ano")
    }
}

/// What a digit counts; the kernel writes lower case.
fn hexadecimal(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        let (mut lines, mut line) = (Vec::new(), Line::EMPTY);
        for byte in text.bytes() {
            if line.ends_with(byte) {
                lines.push(std::mem::replace(&mut line, Line::EMPTY));
            }
        }
        line.clear();
        assert_eq!(format!("{line:?}"), format!("{:?}", Line::EMPTY));
        lines
    }

    #[test]
    fn a_mapping_of_a_file_is_read() {
        let text = "7f2d4db8f000-7f2d4dce5000 r-xp 00026000 fe:1f 326279    /usr/lib/x y\\012.so\n";
        let [line] = &lines(text)[..] else {
            panic!("{text}")
        };
        assert_eq!((line.start, line.end), (0x7f2d_4db8_f000, 0x7f2d_4dce_5000));
        let device = u64::from_be_bytes(*b"\0\0\0fe:1f");
        assert_eq!((line.device, line.inode), (device, 326_279));
        assert!(line.is_executable && !line.is_kernels());
    }

    #[test]
    fn the_kernels_own_is_told_from_memory() {
        let kernels = ["[vdso]", "[vvar_vclock]", "[vsyscall]", "[uprobes]"];
        let memory = [
            "",
            "[heap]",
            "[stack]",
            "[anon: glibc: malloc]",
            "[anon_shmem:x]",
            "[stack:12]",
        ];
        for (names, wanted) in [(&kernels[..], true), (&memory[..], false)] {
            for name in names {
                let text = format!("1000-2000 rw-p 00000000 00:00 0     {name}\n");
                let [line] = &lines(&text)[..] else {
                    panic!("{text}")
                };
                assert_eq!(line.is_kernels(), wanted, "{name}");
                assert!(!line.is_executable && line.inode == 0);
            }
        }
        let [line] = &lines("1000-2000 rw-p 00000000 00:01 7 [x]\n")[..] else {
            panic!()
        };
        assert!(!line.is_kernels());
    }

    #[test]
    fn all_of_our_own_are_read() {
        let text = std::fs::read_to_string("/proc/self/maps").unwrap();
        let read = lines(&text);
        assert_eq!(read.len(), text.lines().count());
        for (line, text) in read.iter().zip(text.lines()) {
            let range = format!("{:08x}-{:08x} ", line.start, line.end);
            assert!(text.starts_with(&range), "{text}");
            let inode = text.split_whitespace().nth(4).unwrap();
            assert_eq!(line.inode.to_string(), inode, "{text}");
        }
    }
}
