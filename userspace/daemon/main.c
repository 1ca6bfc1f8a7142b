// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * qchaind: options, the loop, and the end.
 *
 * Exit status: 0 after an orderly end, 1 when something failed at start or could not be taken down
 * at the end, 2 for wrong usage.
 */
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "chain.h"
#include "chardev.h"
#include "control.h"
#include "daemonize.h"
#include "keyval.h"
#include "log.h"
#include "monitor.h"
#include "pidfile.h"
#include "quit.h"
#include "state.h"
#include "util.h"

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

enum {
	OPT_BLOCKDEV = 256,
	OPT_CHARDEV,
	OPT_DAEMONIZE,
	OPT_EXPORT,
	OPT_KEEP,
	OPT_LOG_LEVEL,
	OPT_MONITOR,
	OPT_PIDFILE,
};

static const struct option long_options[] = {
	{ "blockdev", required_argument, NULL, OPT_BLOCKDEV },
	{ "chardev", required_argument, NULL, OPT_CHARDEV },
	{ "daemonize", no_argument, NULL, OPT_DAEMONIZE },
	{ "export", required_argument, NULL, OPT_EXPORT },
	{ "help", no_argument, NULL, 'h' },
	{ "keep", no_argument, NULL, OPT_KEEP },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "monitor", required_argument, NULL, OPT_MONITOR },
	{ "pidfile", required_argument, NULL, OPT_PIDFILE },
	{ "version", no_argument, NULL, 'V' },
	{ 0 }
};

static const char help_text[] =
	"Usage: qchaind [OPTION]...\n"
	"Block devices from qcow2 backing chains, controlled through QMP.\n"
	"\n"
	"  --blockdev DEFINITION     a node, as blockdev-add takes it\n"
	"  --export DEFINITION       a device of a node, as block-export-add takes it\n"
	"  --chardev socket,id=ID,path=PATH,server=on,wait=off\n"
	"  --chardev socket,id=ID,fd=FD,server=on,wait=off\n"
	"                            a socket to bind, or one that was passed in\n"
	"  --monitor [chardev=]ID[,mode=control][,pretty=on][,allowed-group=GROUP]\n"
	"                            QMP on that socket\n"
	"  --keep                    leave devices running at the end\n"
	"  --daemonize               go to the background when all is ready\n"
	"  --pidfile PATH            write the process ID there when all is ready\n"
	"  --log-level LEVEL         error, warning, info (the default) or debug\n"
	"  -h, --help                show this\n"
	"  -V, --version             show the version\n"
	"\n"
	"DEFINITION is JSON, or key=value,... with dots in keys; see man qchaind.\n";

/* What is known before anything is done.  The other options are done in their order. */
struct settings {
	bool daemonize;
	bool keep;
	const char *pidfile;
};

static int usage(const char *cause, const char *what)
{
	fprintf(stderr, "qchaind: %s: %s; see: qchaind --help\n", what, cause);
	return EXIT_USAGE;
}

/* Returns -1 when the daemon is to start, else the exit code. */
static int read_settings(int argc, char **argv, struct settings *settings)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'h':
			fputs(help_text, stdout);
			return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
		case 'V':
			printf("qchaind %s, QMP of QEMU %d.%d.%d\n", QCHAIN_VERSION,
			       QMP_VERSION_MAJOR, QMP_VERSION_MINOR, QMP_VERSION_MICRO);
			return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
		case OPT_DAEMONIZE:
			settings->daemonize = true;
			break;
		case OPT_KEEP:
			settings->keep = true;
			break;
		case OPT_PIDFILE:
			settings->pidfile = optarg;
			break;
		case OPT_LOG_LEVEL:
			if (!log_set_level(optarg))
				return usage("no such log level", optarg);
			break;
		case ':':
			return usage("the option needs an argument", argv[optind - 1]);
		case '?':
			return usage("unknown or ambiguous option", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return usage("unexpected argument", argv[optind]);
	return -1;
}

/* Options are commands in another form; what one makes is named by its argument @key. */
static int run_command(const char *name, const char *option, const char *implied,
		       const char *key, struct qmp_error *error)
{
	CLEANUP_JSON struct json_object *arguments = NULL, *result = NULL;
	const struct qapi_command *command = qapi_find_command(name);
	const char *made;

	if (!command)
		return qmp_fail(error, "The command %s has not been found", name);
	if (keyval_parse(option, implied, command->arguments, &arguments, error))
		return -1;
	made = qapi_get_str(arguments, key, "");
	/* A daemon that was started again has what became of it. */
	if (state_option_done(name, made))
		return 0;
	state_option_note(name, made);
	if (!command->run(NULL, arguments, &result, error))
		return 0;
	state_option_forget(name, made);
	return -1;
}

static int run_option(struct sd_event *loop, int option, struct qmp_error *error)
{
	switch (option) {
	case OPT_BLOCKDEV:
		return run_command("blockdev-add", optarg, "driver", "node-name", error);
	case OPT_EXPORT:
		return run_command("block-export-add", optarg, "type", "id", error);
	case OPT_CHARDEV:
		return chardev_add(optarg, error);
	case OPT_MONITOR:
		return monitor_add(loop, optarg, error);
	default:
		return 0;
	}
}

static int run_options(struct sd_event *loop, int argc, char **argv)
{
	struct qmp_error error = { 0 };
	int option, index;

	optind = 0;
	while ((option = getopt_long(argc, argv, ":hV", long_options, &index)) != -1) {
		if (!run_option(loop, option, &error))
			continue;
		log_line(LOG_ERR, "--%s %s: %s", long_options[index].name, optarg, error.text);
		return -1;
	}
	return 0;
}

static int start_parts(struct sd_event *loop)
{
	struct qmp_error error = { 0 };

	for (const struct daemon_part *const *part = daemon_parts; *part; part++) {
		if (!(*part)->start || !(*part)->start(loop, &error))
			continue;
		log_line(LOG_ERR, "%s: %s", (*part)->name, error.text);
		return -1;
	}
	return 0;
}

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP };

/* What cannot be taken down goes on without the daemon. */
static int on_end_signal(sd_event_source *source, const struct signalfd_siginfo *info,
			 void *context)
{
	struct qmp_error error = { 0 };

	(void)context;
	log_line(LOG_INFO, "ending, by signal %u", info->ssi_signo);
	if (!quit_run(quit_keeps(), &error))
		return 0;
	log_line(LOG_ERR, "%s; all devices are left running", error.text);
	quit_run(true, &error);
	sd_event_exit(sd_event_source_get_event(source), EXIT_FAILED);
	return 0;
}

/* They wait, blocked, until the loop runs. */
static void block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(end_signals); i++)
		sigaddset(&set, end_signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int watch_signals(struct sd_event *loop)
{
	for (size_t i = 0; i < ARRAY_SIZE(end_signals); i++) {
		int ret = sd_event_add_signal(loop, NULL, end_signals[i], on_end_signal, NULL);

		if (ret < 0) {
			log_line(LOG_ERR, "cannot wait for signals: %s", strerror(-ret));
			return -1;
		}
	}
	return 0;
}

static int get_ready(const struct settings *settings)
{
	struct qmp_error error = { 0 };

	if ((settings->pidfile && pidfile_create(settings->pidfile, &error)) ||
	    (settings->daemonize && daemonize_ready(&error))) {
		log_line(LOG_ERR, "%s", error.text);
		return -1;
	}
	log_line(LOG_DEBUG, "ready");
	sd_notify(false, "READY=1");
	return 0;
}

/* When the start fails, devices that an earlier daemon or an option made go on. */
static void leave_devices(void)
{
	struct qmp_error error = { 0 };

	quit_run(true, &error);
}

static int serve(struct sd_event *loop, const struct settings *settings, int argc, char **argv)
{
	int ret;

	quit_init(loop, settings->keep);
	if (start_parts(loop))
		return EXIT_FAILED;
	if (watch_signals(loop) || run_options(loop, argc, argv) || get_ready(settings)) {
		leave_devices();
		return EXIT_FAILED;
	}
	ret = sd_event_loop(loop);
	if (ret < 0) {
		log_line(LOG_ERR, "the event loop failed: %s", strerror(-ret));
		leave_devices();
		return EXIT_FAILED;
	}
	return ret;
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };
	struct qmp_error error = { 0 };
	sd_event *loop = NULL;
	int ret;

	setlocale(LC_CTYPE, "");
	ret = read_settings(argc, argv, &settings);
	if (ret >= 0)
		return ret;
	block_signals();
	qc_raise_nofile();
	if (settings.daemonize && daemonize_begin(&error)) {
		log_line(LOG_ERR, "%s", error.text);
		return EXIT_FAILED;
	}
	ret = sd_event_new(&loop);
	if (ret < 0) {
		log_line(LOG_ERR, "cannot make an event loop: %s", strerror(-ret));
		return EXIT_FAILED;
	}
	ret = serve(loop, &settings, argc, argv);
	sd_notify(false, "STOPPING=1");
	monitor_close_all();
	chardev_close_all();
	pidfile_remove();
	sd_event_unref(loop);
	return ret;
}
