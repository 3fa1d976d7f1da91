/* A part: what objects of kernels call. */
double callee(double x);

double callee(double x)
{
    return 2 * x + 1;
}
