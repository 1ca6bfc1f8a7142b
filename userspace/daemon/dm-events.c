// SPDX-License-Identifier: GPL-2.0-or-later
/* Device-mapper events. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/dm-ioctl.h>

#include "dm-events.h"

#define CONTROL "/dev/mapper/control"

static void (*on_change)(void);

/*
 * From here on the descriptor becomes readable with the next event.  libdevmapper has this call for
 * its own descriptor only, which it does not give away.
 */
static int arm(int fd)
{
	struct dm_ioctl request = {
		/* As old as the call, which came with 4.37. */
		.version = { DM_VERSION_MAJOR, 37, 0 },
		.data_size = sizeof(request),
		.data_start = sizeof(request),
	};

	return ioctl(fd, DM_DEV_ARM_POLL, &request) < 0 ? -errno : 0;
}

static int on_event(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source;
	(void)events;
	(void)context;
	/* Before anything is looked at, so that what happens meanwhile is looked at again. */
	arm(fd);
	on_change();
	return 0;
}

int dm_events_watch(struct sd_event *loop, void (*changed)(void), struct qmp_error *error)
{
	int fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	int ret = fd < 0 ? -errno : arm(fd);

	on_change = changed;
	if (!ret)
		ret = sd_event_add_io(loop, NULL, fd, EPOLLIN, on_event, NULL);
	if (ret >= 0)
		return 0;
	if (fd >= 0)
		close(fd);
	return qmp_fail(error, "%s: cannot wait for events: %s; load it with: modprobe dm_mod",
			CONTROL, strerror(-ret));
}
