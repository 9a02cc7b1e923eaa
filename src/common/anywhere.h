/* Marks a function that is compiled wherever it is used: on the host, and on a
 * device inside a kernel. */
#ifndef FOLIO_COMMON_ANYWHERE_H
#define FOLIO_COMMON_ANYWHERE_H

#ifdef __CUDACC__
#define FO_ANYWHERE static inline __host__ __device__
#else
#define FO_ANYWHERE static inline
#endif

#endif
