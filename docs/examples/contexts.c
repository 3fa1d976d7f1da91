/* Where models can run, and contexts:  contexts [DEVICE]
 *
 * Prints every device, makes a context on each that can be used, or on the one that is asked for,
 * and prints what it became. */
#include <stdio.h>
#include <stdlib.h>

#include <rlx.h>

/* The library never prints: what it has to say comes here. */
static void hear(void *user, rlx_log_level level, const char *message)
{
    fprintf(stderr, "%s%s: %s\n", (const char *)user, level == RLX_LOG_INFO ? "" : " warns",
            message);
}

static void list_devices(void)
{
    for (int i = 0; i < rlx_device_count(); i++) {
        rlx_device_info info;
        rlx_device_get_info(i, &info);
        if (*info.why_not) /* it is there, all the same */
            printf("%-8s %s, cannot be used: %s\n", info.name, info.description, info.why_not);
        else
            printf("%-8s %s, for %s; %d cores\n", info.name, info.description,
                   *info.target ? info.target : "any processor", info.cores);
    }
}

static rlx_status open_device(const char *device)
{
    /* what is not named is zero, and zero is the default; the order is that of the struct */
    const rlx_context_options options = {
        .device = device, .threads = 2, .log = hear, .log_user = (void *)"contexts"};
    rlx_context *cx = NULL;
    rlx_status st = rlx_context_create(&options, &cx);
    if (st)
        return st;
    printf("%s is %s with %d threads\n", device, rlx_context_device(cx), rlx_context_threads(cx));
    rlx_context_destroy(cx);
    return RLX_OK;
}

int main(int argc, char **argv)
{
    rlx_status st = RLX_OK;
    printf("rlx %s\n", rlx_version());
    list_devices();
    if (argc > 1)
        st = open_device(argv[1]);
    for (int i = 0; argc == 1 && i < rlx_device_count() && !st; i++) {
        rlx_device_info info;
        rlx_device_get_info(i, &info);
        if (!*info.why_not)
            st = open_device(info.name);
    }
    if (!st)
        return 0;
    char *story = rlx_status_text(st); /* what went wrong, and what was being done */
    fprintf(stderr, "%s\n", story ? story : rlx_status_message(st));
    free(story);
    rlx_status_free(st);
    return 1;
}
