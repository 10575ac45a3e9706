/* Waits for the end of file on descriptor 3, then becomes the program. Many of
 * these, waiting for one pipe, start at the same instant. */
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char byte;

	if (argc < 2)
		return 2;
	fcntl(3, F_SETFD, FD_CLOEXEC);
	while (read(3, &byte, 1) != 0)
		;
	execv(argv[1], argv + 1);
	return 127;
}
