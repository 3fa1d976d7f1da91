#include <stdio.h>

#include "frontend/tool/args.h"

static void put_bytes(const char *name, int64_t bytes)
{
    if (bytes >= 1 << 20)
        printf(", %s %.4g MiB", name, (double)bytes / (1 << 20));
    else if (bytes)
        printf(", %s %.4g KiB", name, (double)bytes / 1024);
}

int command_devices(int argc, char **argv)
{
    int code = args_parse(
        &(command_spec){.name = "devices", .about = "what models can run on here (--device)"}, argc,
        argv);
    if (code >= 0)
        return code;
    for (int i = 0; i < rlx_device_count(); i++) {
        rlx_device_info d;
        rlx_device_get_info(i, &d);
        printf("%-8s %s", d.name, d.description);
        if (d.target[0])
            printf("; %s; %d core%s", d.target, d.cores, d.cores == 1 ? "" : "s");
        put_bytes("L1", d.l1_bytes);
        put_bytes("L2", d.l2_bytes);
        put_bytes("L3", d.l3_bytes);
        putchar('\n');
    }
    return finish_output();
}
