import os

root = "/sys/fs/cgroup/unified/pyrun-b2"
while os.path.exists(root):
    p = root
    while True:
        with os.scandir(p) as it:
            d = [e.path for e in it if e.is_dir(follow_symlinks=False)]
        if not d:
            break
        p = d[0]
    os.rmdir(p)
    while p != root:
        p = os.path.dirname(p)
        try:
            os.rmdir(p)
        except OSError:
            break
