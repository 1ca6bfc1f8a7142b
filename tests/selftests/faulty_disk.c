// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk that fails as told; see faulty_disk.h.  One thread serves it, in the order of the
 * requests; another one lends itself to the nbd driver.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "faulty_disk.h"

#define SECTOR 512
#define GARBAGE 0xdb

struct faulty_disk {
	int fd;				/* the nbd device */
	int kernel_sock, sock;
	pthread_t driver, server;
	uint64_t size;

	pthread_mutex_t lock;		/* all below */
	unsigned char *cached;
	unsigned char *stable;
	bool *dirty;			/* sectors in which the two may differ */
	uint64_t end;			/* nothing but garbage from here on */
	uint64_t rng;
	struct faulty_plan plan;
	struct faulty_counts counts;
	bool list;
};

static uint64_t rnd(struct faulty_disk *d)
{
	uint64_t z = (d->rng += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static int transfer(int fd, void *buf, size_t len, bool out)
{
	for (size_t done = 0; done < len; ) {
		ssize_t r = out ? write(fd, (char *)buf + done, len - done)
				: read(fd, (char *)buf + done, len - done);

		if (r <= 0 && !(r < 0 && errno == EINTR))
			return -1;
		done += r > 0 ? r : 0;
	}
	return 0;
}

static void make_stable(struct faulty_disk *d, uint64_t sector)
{
	if (d->dirty[sector])
		memcpy(d->stable + sector * SECTOR, d->cached + sector * SECTOR, SECTOR);
	d->dirty[sector] = false;
}

static bool is_flush(uint32_t type)
{
	return (type & 0xffff) == NBD_CMD_FLUSH || (type & NBD_CMD_FLAG_FUA);
}

/* Does this request fail?  Counts it. */
static bool fails(struct faulty_disk *d, uint32_t type, uint64_t from, uint32_t len)
{
	uint32_t command = type & 0xffff;
	static const char * const names[] = {
		[NBD_CMD_READ] = "read", [NBD_CMD_WRITE] = "write",
		[NBD_CMD_FLUSH] = "flush", [NBD_CMD_TRIM] = "discard",
	};
	enum faulty_what what = command == NBD_CMD_READ ? FAULTY_READS : FAULTY_WRITES;
	uint64_t nr = what == FAULTY_READS ? ++d->counts.reads : ++d->counts.writes;

	d->counts.flushes += is_flush(type);
	if (d->list)
		printf("# %s %" PRIu64 ": %s [%" PRIu64 ", +%u)\n",
		       what == FAULTY_READS ? "read" : "write", nr, names[command], from, len);
	if (d->plan.what == FAULTY_FLUSHES && is_flush(type)) {
		what = FAULTY_FLUSHES;
		nr = d->counts.flushes;
	}
	if (d->plan.what != what || nr < d->plan.first || nr - d->plan.first >= d->plan.count)
		return false;
	d->counts.failed++;
	d->counts.flushes_failed += is_flush(type);
	snprintf(d->counts.last, sizeof(d->counts.last), "%s [%" PRIu64 ", +%u)", names[command],
		 from, len);
	return true;
}

/* The cache is gone; what was in it may have reached the disk before, when the failure is torn. */
static void forget(struct faulty_disk *d)
{
	for (uint64_t s = 0; s < d->end / SECTOR; s++) {
		if (!d->dirty[s])
			continue;
		if (d->plan.torn && rnd(d) % 2)
			make_stable(d, s);
		memcpy(d->cached + s * SECTOR, d->stable + s * SECTOR, SECTOR);
		d->dirty[s] = false;
	}
}

/*
 * Carry a request out; of one that fails, when it is torn, a part: each sector as chance has it,
 * but all or none half of the time.
 */
static void carry_out(struct faulty_disk *d, uint32_t type, uint64_t from, uint32_t len,
		      const unsigned char *data, bool failed)
{
	uint32_t command = type & 0xffff;
	uint64_t sector = from / SECTOR, end = (from + len) / SECTOR;
	static const unsigned int shares[] = { 0, 1, 2, 4 };
	unsigned int share = failed ? shares[rnd(d) % 4] : 4;

	if (failed && is_flush(type) && d->plan.forgets) {
		forget(d);
		return;
	}
	if (failed && !d->plan.torn)
		return;
	if (command == NBD_CMD_FLUSH) {
		sector = 0;
		end = d->end / SECTOR;
	} else if (from + len > d->end) {
		d->end = from + len;
	}
	for (; sector < end; sector++, data += data ? SECTOR : 0) {
		if (share < 4 && rnd(d) % 4 >= share)
			continue;
		if (data)
			memcpy(d->cached + sector * SECTOR, data, SECTOR);
		else if (command == NBD_CMD_TRIM)
			memset(d->cached + sector * SECTOR, GARBAGE, SECTOR);
		if (command != NBD_CMD_FLUSH)
			d->dirty[sector] = true;
		if (command == NBD_CMD_FLUSH || (type & NBD_CMD_FLAG_FUA))
			make_stable(d, sector);
	}
}

static void *serve(void *arg)
{
	struct faulty_disk *d = arg;
	struct nbd_request request;
	unsigned char *buf = NULL;
	uint32_t room = 0;

	while (!transfer(d->sock, &request, sizeof(request), false)) {
		uint32_t type = be32toh(request.type), command = type & 0xffff;
		struct nbd_reply reply = { .magic = htobe32(NBD_REPLY_MAGIC) };
		uint64_t from = be64toh(request.from);
		uint32_t len = be32toh(request.len);
		bool data = command == NBD_CMD_WRITE, failed;

		if (command == NBD_CMD_DISC)
			break;
		if ((data || command == NBD_CMD_READ) && len > room) {
			room = len;
			buf = realloc(buf, room);
			if (!buf)
				abort();
		}
		if (data && transfer(d->sock, buf, len, false))
			break;

		pthread_mutex_lock(&d->lock);
		failed = fails(d, type, from, len);
		if (command == NBD_CMD_READ)
			memcpy(buf, d->cached + from, len);
		else
			carry_out(d, type, from, len, data ? buf : NULL, failed);
		pthread_mutex_unlock(&d->lock);

		reply.error = htobe32(failed ? EIO : 0);
		memcpy(&reply.handle, &request.handle, sizeof(reply.handle));
		if (transfer(d->sock, &reply, sizeof(reply), true))
			break;
		if (command == NBD_CMD_READ && !failed && transfer(d->sock, buf, len, true))
			break;
	}
	free(buf);
	return NULL;
}

static void *drive(void *arg)
{
	struct faulty_disk *d = arg;

	ioctl(d->fd, NBD_DO_IT);
	return NULL;
}

static int nbd_setup(struct faulty_disk *d)
{
	if (ioctl(d->fd, NBD_SET_BLKSIZE, (unsigned long)SECTOR) ||
	    ioctl(d->fd, NBD_SET_SIZE_BLOCKS, (unsigned long)(d->size / SECTOR)) ||
	    ioctl(d->fd, NBD_SET_FLAGS, (unsigned long)(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
							NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM)) ||
	    ioctl(d->fd, NBD_SET_SOCK, (unsigned long)d->kernel_sock))
		return -1;
	errno = pthread_create(&d->server, NULL, serve, d) ?:
		pthread_create(&d->driver, NULL, drive, d);
	return errno ? -1 : 0;
}

struct faulty_disk *faulty_disk_open(const char *device, uint64_t size, uint64_t seed)
{
	struct faulty_disk *d = calloc(1, sizeof(*d));
	int sv[2];

	if (!d)
		return NULL;
	d->size = size;
	d->rng = seed;
	pthread_mutex_init(&d->lock, NULL);
	d->cached = calloc(1, size);
	d->stable = calloc(1, size);
	d->dirty = calloc(size / SECTOR, sizeof(*d->dirty));
	d->fd = open(device, O_RDWR | O_CLOEXEC);
	if (!d->cached || !d->stable || !d->dirty || d->fd < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return NULL;
	d->kernel_sock = sv[0];
	d->sock = sv[1];
	return nbd_setup(d) ? NULL : d;
}

void faulty_disk_close(struct faulty_disk *d)
{
	ioctl(d->fd, NBD_DISCONNECT);
	pthread_join(d->server, NULL);
	close(d->sock);
	pthread_join(d->driver, NULL);
	ioctl(d->fd, NBD_CLEAR_SOCK);
	close(d->fd);
	close(d->kernel_sock);
	free(d->cached);
	free(d->stable);
	free(d->dirty);
	free(d);
}

int faulty_disk_fill(struct faulty_disk *d, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t r = 1;

	if (fd < 0)
		return -1;
	pthread_mutex_lock(&d->lock);
	memset(d->cached, GARBAGE, d->size);
	for (d->end = 0; d->end < d->size && r > 0; d->end += r > 0 ? r : 0)
		r = read(fd, d->cached + d->end, d->size - d->end);
	d->end = (d->end + SECTOR - 1) / SECTOR * SECTOR;
	memcpy(d->stable, d->cached, d->size);
	memset(d->dirty, 0, d->size / SECTOR * sizeof(*d->dirty));
	pthread_mutex_unlock(&d->lock);
	close(fd);
	return r < 0 ? -1 : 0;
}

void faulty_disk_plan(struct faulty_disk *d, const struct faulty_plan *plan)
{
	pthread_mutex_lock(&d->lock);
	d->plan = *plan;
	d->counts = (struct faulty_counts){ .last = "nothing" };
	pthread_mutex_unlock(&d->lock);
}

void faulty_disk_heal(struct faulty_disk *d)
{
	pthread_mutex_lock(&d->lock);
	d->plan.what = FAULTY_NOTHING;
	pthread_mutex_unlock(&d->lock);
}

void faulty_disk_list(struct faulty_disk *d, bool on)
{
	d->list = on;
}

void faulty_disk_counts(struct faulty_disk *d, struct faulty_counts *counts)
{
	pthread_mutex_lock(&d->lock);
	*counts = d->counts;
	pthread_mutex_unlock(&d->lock);
}

int faulty_disk_save(struct faulty_disk *d, enum faulty_view view, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), r;
	unsigned char *all = d->cached;

	if (fd < 0)
		return -1;
	pthread_mutex_lock(&d->lock);
	if (view == FAULTY_CUT) {
		all = malloc(d->end);
		if (!all)
			abort();
		memcpy(all, d->stable, d->end);
		for (uint64_t s = 0; s < d->end / SECTOR; s++)
			if (d->dirty[s] && rnd(d) % 2)
				memcpy(all + s * SECTOR, d->cached + s * SECTOR, SECTOR);
	}
	/* What lies behind is no loss: images may end before the disk does. */
	r = transfer(fd, all, d->end, true);
	if (all != d->cached)
		free(all);
	pthread_mutex_unlock(&d->lock);
	return close(fd) || r ? -1 : 0;
}
