// The least a FUSE server can do to serve one directory of files: the bare thing our server is measured against.
//
//     minimal MOUNTPOINT FILES BYTES [single]
//
// It serves FILES files f0, f1, ... of BYTES bytes from memory, by as many threads as there are requests, as libfuse does unless
// told otherwise, or by a single one: then a request is cheapest, and all others wait for it. Like ours it lets the kernel keep names, attributes and pages
// for ever and asks for no FLUSH, so that open, read and close of a cached file cost one round trip.
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double forever = 1e9;
static long files;
static size_t size;
static char *content;

static void attributes(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof *st);
	st->st_ino = ino;
	if (ino == FUSE_ROOT_ID) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return;
	}
	st->st_mode = S_IFREG | 0644;
	st->st_nlink = 1;
	st->st_size = size;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {.generation = 1, .attr_timeout = forever, .entry_timeout = forever};
	char *end;
	long n;

	if (parent != FUSE_ROOT_ID || name[0] != 'f' || (n = strtol(name + 1, &end, 10), *end) || n < 0 || n >= files) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	e.ino = n + 2;
	attributes(e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	attributes(ino, &st);
	fuse_reply_attr(req, &st, forever);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t want, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	if (off >= (off_t)size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, content + off, want < size - off ? want : size - off);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.lookup = on_lookup, .getattr = on_getattr, .open = on_open, .read = on_read, .release = on_release,
};

int main(int argc, char **argv)
{
	char *options[] = {argv[0], "-o", "allow_other,default_permissions,fsname=minimal,subtype=minimal", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, options);
	struct fuse_session *session;
	int failed;

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: %s MOUNTPOINT FILES BYTES [single]\n", argv[0]);
		return 2;
	}
	files = atol(argv[2]);
	size = atol(argv[3]);
	content = malloc(size + 1);
	memset(content, 'x', size);

	session = fuse_session_new(&args, &operations, sizeof operations, NULL);
	if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, argv[1]))
		return 1;
	failed = argc == 5 ? fuse_session_loop(session) : fuse_session_loop_mt(session, NULL);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return failed < 0;
}
