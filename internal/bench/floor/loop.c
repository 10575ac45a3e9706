/* The floor of a daemon: starts a program again and again, with no more than so
 * many running at a time, and does nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int started = 0, ended = 0, failed = 0, status;

	if (argc < 4)
		return 2;
	int count = atoi(argv[1]), most = atoi(argv[2]);
	while (ended < count) {
		if (started < count && started - ended < most) {
			pid_t pid = vfork();
			if (pid == 0) {
				execv(argv[3], argv + 3);
				_exit(127);
			}
			if (pid < 0)
				return 125;
			started++;
			continue;
		}
		if (wait(&status) < 0 && errno == EINTR)
			continue;
		failed |= status;
		ended++;
	}
	return failed != 0;
}
