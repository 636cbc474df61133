# A boot disc that installs what it is told: it reads a line from the keyboard, echoes it on the serial console,
# writes a boot sector with it to the first disk and reboots.

        .code16
        .globl _start
        .equ    serial, 0x3f8
        .equ    line, 0x7e00 + 64       # in the boot sector that is written, after its code
        .equ    most, 512 - 64 - 2 - 2

_start: xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7c00, %sp
        cld
        mov     $greet, %si
        call    say
begin:  xor     %ah, %ah
        int     $0x16
        cmp     $13, %al
        jne     begin
        mov     $prompt, %si
        call    say
        mov     $line, %di
next:   xor     %ah, %ah
        int     $0x16
        cmp     $13, %al
        je      install
        call    put
        stosb
        cmp     $line + most, %di
        jb      next
install:
        xor     %al, %al
        stosb
        mov     $crlf, %si
        call    say
        mov     $0x0301, %ax            # one sector is written,
        mov     $0x7e00, %bx            # from here,
        mov     $0x0001, %cx            # to the first one
        mov     $0x0080, %dx            # of the first disk
        int     $0x13
        mov     $failed, %si
        jc      fail
        mov     $0xcf9, %dx             # the chipset's reset
        mov     $0x06, %al
        out     %al, %dx
fail:   call    say
halt:   hlt
        jmp     halt

say:    lodsb
        test    %al, %al
        jz      said
        call    put
        jmp     say
said:   ret

put:    mov     $serial, %dx
        out     %al, %dx
        ret

greet:  .asciz  "press enter\r\n"
prompt: .asciz  "boot: "
crlf:   .asciz  "\r\n"
failed: .asciz  "cannot write\r\n"

        .org    512
# The boot sector that is written. It is loaded to 0x7c00.
installed:
        xor     %ax, %ax
        mov     %ax, %ds
        cld
        mov     $serial, %dx
        mov     $0x7c00 + (told - installed), %si
        call    tell
        mov     $0x7c00 + 64, %si
        call    tell
        mov     $0x7c00 + (ends - installed), %si
        call    tell
stop:   hlt
        jmp     stop
tell:   lodsb
        test    %al, %al
        jz      over
        out     %al, %dx
        jmp     tell
over:   ret
told:   .asciz  "installed: "
ends:   .asciz  "\r\n"
        .org    512 + 510
        .word   0xaa55
