/* bench/work/crypto.c: AES-256-GCM and SHA-256 by Debian's libcrypto, which picks its code by what the processor offers.
 *
 * The library is opened at run time, so that building needs no headers of it; the few functions used are declared here as its manual has them.
 */
#include <dlfcn.h>

#include "work.h"

static void *function(const char *name)
{
    static void *library;
    if (!library)
        library = dlopen("libcrypto.so.3", RTLD_NOW);
    void *f = library ? dlsym(library, name) : NULL;
    if (!f)
        work_fail(dlerror());
    return f;
}

enum { SIZE = 16384 };

static uint64_t run_gcm(unsigned n)
{
    void *(*context)(void) = function("EVP_CIPHER_CTX_new");
    const void *(*cipher)(void) = function("EVP_aes_256_gcm");
    int (*init)(void *, const void *, void *, const uint8_t *, const uint8_t *) = function("EVP_EncryptInit_ex");
    int (*update)(void *, uint8_t *, int *, const uint8_t *, int) = function("EVP_EncryptUpdate");
    int (*final)(void *, uint8_t *, int *) = function("EVP_EncryptFinal_ex");
    int (*control)(void *, int, int, void *) = function("EVP_CIPHER_CTX_ctrl");
    static uint8_t data[SIZE], key[32], iv[12], tag[16];
    uint64_t sum = 0;
    void *c = context();
    int length;
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        iv[0] = (uint8_t)i;
        init(c, cipher(), NULL, key, iv);
        update(c, data, &length, data, SIZE);
        final(c, data, &length);
        control(c, 0x10, sizeof tag, tag); /* EVP_CTRL_AEAD_GET_TAG */
        for (unsigned k = 0; k < sizeof tag; k++)
            sum = work_mix(sum, tag[k]);
    }
    work_end();
    return sum;
}

static uint64_t run_sha256(unsigned n)
{
    uint8_t *(*sha256)(const uint8_t *, size_t, uint8_t *) = function("SHA256");
    static uint8_t data[SIZE], digest[32];
    uint64_t sum = 0;
    sha256(data, SIZE, digest);
    work_begin();
    for (unsigned i = 0; i < n; i++) {
        sha256(data, SIZE, digest);
        memcpy(data, digest, sizeof digest);
        sum = work_mix(sum, digest[i & 31]);
    }
    work_end();
    return sum;
}

const struct work works[] = {{"aes-gcm", run_gcm}, {"sha256", run_sha256}, {NULL, NULL}};
