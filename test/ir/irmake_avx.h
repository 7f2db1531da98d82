/* irmake_avx.h: random AVX ops for irmake.h: a sample of every form, operand class and way to select memory. */
#ifndef RHEA_IRMAKE_AVX_H
#define RHEA_IRMAKE_AVX_H

#include <string.h>

#include "ir/ir.h"

/* operands: classes of d, a, b, c: v vector, k mask, g general register, m address, - none. */
struct avx_sample {
    const char *text, *operands;
};
static const struct avx_sample avx_samples[] = {
    {"reg_vvvv_rm.vex.256.66.0f.w0.fe", "vvv-"},                  /* VPADDD */
    {"reg_vvvv_rm.vex.128.66.0f.w0.ef", "vvv-"},                  /* VPXOR */
    {"reg_vvvv_rm.vex.256.np.0f.w0.58.x", "vvv-"},                /* VADDPS */
    {"reg_vvvv_rm.vex.256.66.0f3a.w0.4a.i00", "vvvv"},            /* VBLENDVPS */
    {"reg_vvvv_rm.vex.128.f2.0f.w1.2a.x", "vvg-"},                /* VCVTSI2SD */
    {"reg_rm.vex.128.66.0f.w0.6e", "vg--"},                       /* VMOVD */
    {"reg_rm.vex.256.66.0f.w0.d7", "gv--"},                       /* VPMOVMSKB */
    {"rm_reg.vex.128.66.0f3a.w1.16.i01", "gv--"},                 /* VPEXTRQ */
    {"rm_reg.vex.256.66.0f3a.w0.39.i01", "vv--"},                 /* VEXTRACTI128 */
    {"vvvv_rm.vex.256.66.0f.w0.72/6.i05", "vv--"},                /* VPSLLD */
    {"f_reg_rm.vex.256.66.0f38.w0.17", "-vv-"},                   /* VPTEST */
    {"f_reg_rm.vex.128.66.0f.w0.2f.x", "-vv-"},                   /* VCOMISD */
    {"plain.vex.128.np.0f.w0.77", "----"},                        /* VZEROUPPER */
    {"reg_mem.vex.256.f3.0f.w0.6f.m32", "vm--"},                  /* VMOVDQU */
    {"reg_mem.vex.128.66.0f.w0.6f.m16a", "vm--"},                 /* VMOVDQA */
    {"mem_reg.vex.256.f3.0f.w0.7f.m32", "-mv-"},                  /* VMOVDQU */
    {"reg_vvvv_mem.vex.256.66.0f.w0.fe.m32", "vmv-"},             /* VPADDD */
    {"reg_mem.vex.128.f3.0f.w1.2d.x.m4", "gm--"},                 /* VCVTSS2SI */
    {"f_reg_mem.vex.128.np.0f.w0.2e.x.m4", "-mv-"},               /* VUCOMISS */
    {"reg_vvvv_mem.vex.256.66.0f38.w0.2c.m32.sign.4x8", "vmv-"},  /* VMASKMOVPS */
    {"mem_vvvv_reg.vex.256.66.0f38.w0.2e.m32.sign.4x8", "-mvv"},  /* VMASKMOVPS */
    {"mem_vvvv_reg.vex.128.66.0f38.w1.8e.m16.sign.8x2", "-mvv"},  /* VPMASKMOVQ */
    {"reg_vvvv_rm.evex.512.66.0f.w0.fe", "vvvk"},                 /* VPADDD */
    {"reg_vvvv_rm.evex.256.66.0f.w0.fe.z", "vvvk"},               /* VPADDD */
    {"reg_vvvv_rm.evex.512.np.0f.w0.58.b.x", "vvvk"},             /* VADDPS, rounding */
    {"reg_vvvv_rm.evex.512.66.0f.w0.76", "kvvk"},                 /* VPCMPEQD */
    {"vvvv_rm.evex.512.66.0f.w0.72/6.i05", "vvk-"},               /* VPSLLD */
    {"reg_rm.evex.128.66.0f38.w1.7c", "vgk-"},                    /* VPBROADCASTQ */
    {"reg_rm.evex.512.f3.0f38.w0.28", "vk--"},                    /* VPMOVM2B */
    {"reg_rm.evex.512.f3.0f38.w0.29", "kv--"},                    /* VPMOVB2M */
    {"reg_mem.evex.512.f3.0f.w0.6f.m64.mask.4x16", "vmk-"},       /* VMOVDQU32 */
    {"mem_reg.evex.512.f3.0f.w0.7f.m64.mask.4x16", "-mvk"},       /* VMOVDQU32 */
    {"mem_reg.evex.256.f2.0f.w1.7f.m32.mask.2x16", "-mvk"},       /* VMOVDQU16 */
    {"reg_vvvv_mem.evex.512.66.0f.w0.fe.b.m4.mask.4x16", "vmvk"}, /* VPADDD, broadcast */
    {"mem_reg.evex.512.66.0f38.w0.8a.m64.packed.4x16", "-mvk"},   /* VCOMPRESSPS */
    {"reg_mem.evex.512.66.0f38.w0.88.m64.packed.4x16", "vmk-"},   /* VEXPANDPS */
    {"mem_reg.evex.512.66.0f3a.w0.39.i01.m16", "-mvk"},           /* VEXTRACTI32X4 */
    {"vvvv_mem.evex.512.66.0f.w0.72/6.i05.m64", "vm--"},          /* VPSLLD */
    {"reg_vvvv_rm.vex.256.np.0f.w1.41", "kkk-"},                  /* KANDQ */
    {"reg_rm.vex.128.np.0f.w0.92", "kg--"},                       /* KMOVW */
    {"reg_rm.vex.128.f2.0f.w1.93", "gk--"},                       /* KMOVQ */
    {"mem_reg.vex.128.np.0f.w1.91.m8", "-mk-"},                   /* KMOVQ */
    {"f_reg_rm.vex.128.np.0f.w1.98", "-kk-"},                     /* KORTESTQ */
};

static inline bool avx_sample_is_wide(const struct avx_sample *s)
{
    return strstr(s->text, ".evex.") || strchr(s->operands, 'k');
}

#endif
