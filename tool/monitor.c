#include "tool/tool.h"
bool monitor_init(struct monitor **mon, struct machine *m, struct back_char *back, struct status *st)
{
    (void)m;
    (void)back;
    (void)st;
    *mon = NULL;
    return true;
}
void monitor_fini(struct monitor *mon)
{
    (void)mon;
}
