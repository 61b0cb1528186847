/* What a RUN step tries against its surroundings; compiled statically, since an image of the tests holds nothing else.
 *
 *   probe tcp ADDRESS PORT TEXT      connects, sends TEXT
 *   probe abstract NAME              connects to an abstract unix socket
 *   probe watch ADDRESS PORT TEXT    until the server at ADDRESS closes the connection: captures every packet that passes,
 *                                    and takes connections on port 7777; the server is sent the step's own address first
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int dial(const char *address, const char *port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 2};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, address, &to.sin_addr);
    return connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ? fd : -1;
}

static int watch(const char *address, const char *port, const char *text) {
    int packets = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7777)};
    if (packets < 0 || bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 8)) return 1;
    int control = dial(address, port);
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    if (control < 0 || getsockname(control, (struct sockaddr *)&own, &length)) return 1;
    dprintf(control, "%s\n", inet_ntoa(own.sin_addr));
    int captured = 0, with_text = 0, connections = 0;
    struct pollfd fds[] = {{packets, POLLIN, 0}, {listener, POLLIN, 0}, {control, POLLIN, 0}};
    while (poll(fds, 3, -1) > 0) {
        static char frame[70000];
        if (fds[0].revents) {
            ssize_t got = recv(packets, frame, sizeof frame, 0);
            captured++;
            if (got > 0 && memmem(frame, got, text, strlen(text))) with_text++;
        }
        if (fds[1].revents && accept(listener, NULL, NULL) >= 0) connections++;
        if (fds[2].revents) break;
    }
    printf("RESULT watch: own packets %s, foreign packets %d, connections %d\n", captured ? "some" : "none", with_text, connections);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "tcp")) {
        int fd = dial(argv[2], argv[3]);
        const char *error = strerror(errno);
        if (fd >= 0) dprintf(fd, "%s\n", argv[4]);
        printf("RESULT tcp %s %s: %s\n", argv[2], argv[3], fd >= 0 ? "connected" : error);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "abstract")) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        memcpy(to.sun_path + 1, argv[2], strlen(argv[2]));
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        int done = connect(fd, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(argv[2]));
        printf("RESULT abstract: %s\n", done ? strerror(errno) : "connected");
        return 0;
    }
    if (argc == 5 && !strcmp(argv[1], "watch")) return watch(argv[2], argv[3], argv[4]);
    return 2;
}
