/* The floor with a terminal: forkpty, exec, and a proxy in one poll loop, which
 * waits neither for the program to read nor for it to write. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char input[16384], output[16384];

static int write_all(int fd, const char *data, ssize_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);
		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0)
			data += n, size -= n;
	}
	return 0;
}

/* Copies until the last descriptor of the program's terminal is closed. */
static void pump(int master)
{
	ssize_t from = 0, to = 0;
	int reading = 1;

	for (;;) {
		struct pollfd p[2] = {
			{ master, POLLIN | (from < to ? POLLOUT : 0), 0 },
			{ reading && from == to ? 0 : -1, POLLIN, 0 },
		};
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents & ~POLLOUT) {
			ssize_t n = read(master, output, sizeof output);
			if (n == 0 || (n < 0 && errno == EIO))
				return;
			if (n > 0 && write_all(1, output, n) < 0)
				return;
		}
		if (p[0].revents & POLLOUT) {
			ssize_t n = write(master, input + from, to - from);
			if (n > 0)
				from += n;
		}
		if (p[1].revents) {
			from = 0;
			to = read(0, input, sizeof input);
			if (to <= 0)
				reading = to = 0;
		}
	}
}

int main(int argc, char **argv)
{
	struct winsize size = { 24, 80, 0, 0 };
	struct termios before, raw;
	int master, status, typed;
	pid_t pid;

	if (argc < 2)
		return 2;
	typed = tcgetattr(0, &before) == 0;
	ioctl(0, TIOCGWINSZ, &size);
	pid = forkpty(&master, 0, typed ? &before : 0, &size);
	if (pid < 0)
		return 125;
	if (pid == 0) {
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (typed) {
		raw = before;
		cfmakeraw(&raw);
		tcsetattr(0, TCSANOW, &raw);
	}
	fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
	pump(master);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 125;
	if (typed)
		tcsetattr(0, TCSANOW, &before);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
