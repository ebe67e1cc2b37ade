"""Hands every packet that is routed into a TUN device back after a while. Arguments: name, milliseconds."""
import collections, fcntl, os, select, struct, sys, time

IFF_TUN_WITHOUT_HEADER, TUNSETIFF, LARGEST = 0x1001, 0x400454CA, 65536
# What comes beyond is lost, as in the queue of any router.
MOST_WAITING = 20000

delay = float(sys.argv[2]) / 1000
tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", sys.argv[1].encode(), IFF_TUN_WITHOUT_HEADER))
# Other processes that compute must not make the delay longer.
os.nice(-15)
waiting = collections.deque()
while True:
    left = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    if select.select([tun], [], [], left)[0]:
        try:
            while True:
                packet = os.read(tun, LARGEST)
                if len(waiting) < MOST_WAITING:
                    waiting.append((time.monotonic() + delay, packet))
        except BlockingIOError:
            pass
    while waiting and waiting[0][0] <= time.monotonic():
        try:
            os.write(tun, waiting.popleft()[1])
        except OSError:
            pass
