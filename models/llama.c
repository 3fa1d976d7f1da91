typedef int rlx_empty;
