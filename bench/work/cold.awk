# bench/work/cold.awk: writes the assembly of a program with COUNT functions of about 30 insns each, all different, all run once: code is
# translated and then hardly used.  `cold all 1` runs them all and prints the time and a checksum; `cold eighth` runs an eighth and ends.
function random() { seed = (seed * 16807) % 2147483647; return seed }
function register() { return names[random() % 8] }
function insn(label,    kind) {
    kind = random() % 10
    if (kind < 3) return "add " register() ", " register()
    if (kind == 3) return "xor " register() ", " random()
    if (kind == 4) return "lea " register() ", [" register() " + " register() " * 2 + " random() % 1000 "]"
    if (kind == 5) return "imul " register() ", " register() ", " random() % 999
    if (kind == 6) return "mov [rsp - " 8 + random() % 15 * 8 "], " register()
    if (kind == 7) return "rol " register() ", " 1 + random() % 31
    if (kind == 8) return "cmp " register() ", " register() "\n jae 1f\n sub " register() ", " random() % 500 "\n1:"
    return "movzx r11d, " bytes[random() % 4] "\n add " register() ", r11"
}
BEGIN {
    seed = 12345
    split("rax rcx rdx rsi rdi r8 r9 r10", list); for (i = 1; i <= 8; i++) names[i - 1] = list[i]
    split("al cl dl r8b", list); for (i = 1; i <= 4; i++) bytes[i - 1] = list[i]
    print ".intel_syntax noprefix\n.text\n.globl cold_functions, cold_count"
    for (f = 0; f < COUNT; f++) {
        print "f" f ":\n lea rdi, [rdi + " f "]\n mov rax, rdi\n mov rcx, rdi\n mov rdx, rdi\n mov rsi, rdi\n mov r8, rdi\n mov r9, rdi\n mov r10, rdi"
        for (i = 0; i < 20; i++) print " " insn()
        print " xor rax, rcx\n add rax, rdx\n xor rax, r8\n add rax, rsi\n xor rax, r9\n add rax, r10\n ret"
    }
    print ".section .data.rel.ro\ncold_functions:"
    for (f = 0; f < COUNT; f++) print " .quad f" f
    print ".section .rodata\ncold_count: .long " COUNT "\n.section .note.GNU-stack"
}
