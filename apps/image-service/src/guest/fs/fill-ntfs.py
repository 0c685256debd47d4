"""Copies a folder into an NTFS file system in a file, by the library of ntfs-3g, which needs no mount: `fill-ntfs.py FILE FOLDER`.

Holes of files stay holes. Files below a folder `compressed` are compressed, those below `scattered` lie in many pieces.
"""
import ctypes
import ctypes.util
import os
import stat
import sys

lib = ctypes.CDLL(ctypes.util.find_library('ntfs-3g') or 'libntfs-3g.so.89', use_errno=True)
for name in ('mount', 'pathname_to_inode', 'create', 'attr_open'):
    getattr(lib, 'ntfs_' + name).restype = ctypes.c_void_p
lib.ntfs_attr_pwrite.restype = ctypes.c_int64

DATA = 0x80
COMPRESSED = 0x800
COMPRESSION = 1 << 6
PIECE = 4096


def known(result, what):
    if not result or (isinstance(result, int) and result < 0):
        raise OSError(ctypes.get_errno(), what)
    return result


def units(name):
    raw = name.encode('utf-16-le')
    return ctypes.create_string_buffer(raw, len(raw) + 2), len(raw) // 2


def make(volume, folder, name, mode):
    text, length = units(name)
    return ctypes.c_void_p(known(lib.ntfs_create(ctypes.c_void_p(folder), 0, text, length, mode), name))


class Writer:
    def __init__(self, inode):
        self.inode = inode
        self.stream = ctypes.c_void_p(known(lib.ntfs_attr_open(inode, DATA, None, 0), 'its bytes'))

    def write(self, at, data):
        if lib.ntfs_attr_pwrite(self.stream, ctypes.c_int64(at), ctypes.c_int64(len(data)), data) != len(data):
            raise OSError(ctypes.get_errno(), 'writing')

    def close(self, size):
        lib.ntfs_attr_pclose(self.stream)
        if lib.ntfs_attr_truncate(self.stream, ctypes.c_int64(size)):
            raise OSError(ctypes.get_errno(), 'its size')
        lib.ntfs_attr_close(self.stream)
        lib.ntfs_inode_close(self.inode)


def stretches(file, size):
    """Where bytes are."""
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file, start, os.SEEK_HOLE)
        yield start, at


def copy(path, writer):
    size = os.stat(path).st_size
    file = os.open(path, os.O_RDONLY)
    for start, end in stretches(file, size):
        for at in range(start, end, 1 << 20):
            writer.write(at, os.pread(file, min(1 << 20, end - at), at))
    os.close(file)
    writer.close(size)


def scatter(path, writer):
    """Every second piece goes first, so that none lies beside its neighbour."""
    with open(path, 'rb') as file:
        data = file.read()
    for first in (0, PIECE):
        for at in range(first, len(data), 2 * PIECE):
            writer.write(at, data[at:at + PIECE])
    writer.close(len(data))


def fill(volume, inside, folder):
    names = sorted(os.listdir(folder))
    files = [n for n in names if not os.path.isdir(os.path.join(folder, n))]
    where = known(lib.ntfs_pathname_to_inode(volume, None, inside.encode()), inside)
    writers = [Writer(make(volume, where, n, stat.S_IFREG)) for n in files]
    for n in names:
        if n not in files:
            child = make(volume, where, n, stat.S_IFDIR)
            if n == 'compressed':
                value = ctypes.c_uint32(COMPRESSED)
                known(lib.ntfs_set_ntfs_attrib(child, ctypes.byref(value), 4, 0) == 0, n)
            lib.ntfs_inode_close(child)
    lib.ntfs_inode_close(ctypes.c_void_p(where))
    lay = scatter if os.path.basename(folder) == 'scattered' else copy
    for n, writer in zip(files, writers):
        lay(os.path.join(folder, n), writer)
    for n in names:
        if n not in files:
            fill(volume, os.path.join(inside, n), os.path.join(folder, n))


def main(image, folder):
    volume = ctypes.c_void_p(known(lib.ntfs_mount(image.encode(), 0), image))
    state = ctypes.cast(volume.value + 2 * ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_ulong))
    state[0] |= COMPRESSION
    fill(volume, '/', folder)
    if lib.ntfs_umount(volume, 0):
        raise OSError(ctypes.get_errno(), 'umount')


main(*sys.argv[1:])
