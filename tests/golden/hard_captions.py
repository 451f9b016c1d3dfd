"""Captions that a tokeniser may get wrong, one a line: contractions, quotes, abbreviations, numbers, addresses, symbols, other scripts.

None holds a word with a space in it (1 1/2, a telephone number): pycocoevalcap's ROUGE-L takes these as one word, its BLEU as two.
"""

HARD = r"""
A man's dog -- it's loud... and doesn't stop
He can't, won't, shan't; they'd've, we'll, I'm, you're
DON'T! Can'T? ISN'T. they'Re
cannot gonna gotta lemme gimme wanna. Cannot! wanna-be cannots
'tis the wind, 'twas rain; 'Tis 'TWAS 'tisn't
rock 'n' roll, rock'n'roll and more'n that
o'clock at 5 o'clock. O'Brien d'artagnan l'amour j'ai d'ye d'oh
the '90s, 90's, 1990s and the 1980's radio, '80
ma'am, y'all, y'know, c'mon, ne'er, e'er, cap'n, o'er
goin', dancin' ol' somethin' an' th' dunkin'
give 'em hell 'til noon 'cause 'em-all 'round 'bout
dogs' barking, the dogs's, James' and James's
'a quoted caption' with `backticks' and ``latex quotes''
"a quoted caption" she said, "loudly"
“curly quotes” and ‘single ones’ and «guillemets» and ‹one›
he said “it’s ‘loud’” twice
don’t, can’t, he’s, we’re, o’clock, ’em, ’tis, ’90s, rock ’n’ roll, y’all, ma’am
'"nested"' and ("also") and '''many''' quotes""
a (dog) barks [loudly] {twice} (really (very) loud)
-LRB- a dog -RRB- barks -lrb- once -rrb-
a dog—cat–bird fight - then -- silence --- long ---- longer -----
semi- and fully-automatic, state-of-the-art, half-open, re-, -dog, dog-
high-pitched, mid-1980s, pre-U.S., 9-to-5, x-ray T-shirt, a--b, a-b-c-d-e
jack-o'-lantern, ne'er-do-well, o'clock-b, the-O'Brien, dog-o'clock, a-don't
café-bar bar-café naïve-ish crème brûlée, café. Ångström, Straße, œuvre
wait... what.. now.... no . . . yes…really…… .. stop. . . .
a..b a...b a....b .a a. b. wow!! what?! really??? !!! ?!?
barks!then meows, barks?then, barks.then, Dog.Cat, wow!The dog
a dog barks., then a cat., and so on.; a bird.: end
o'clock., AT&T., a_b., a-b., café., x.wav., 5kHz., don't., a/b.,
at 5 a.m. a dog, 6 p.m. a cat, 7am 8 pm 5a.m. 3:30pm a.m
e.g. this, i.e., that; E.G. and I.E. cf. viz. etc., etc... etc.; et al. said
Mr. Smith and Mrs. Jones, Dr. No, Ms. X, Prof. Y, St. Louis, Gen. Lee, mr. and dr. who
mr smith, dr who, vs them, vs. them, Inc. and Ltd. and Co. Corp. Bros.
Jan. Feb. Mar. Apr. May. Jun. Jul. Aug. Sept. Oct. Nov. Dec. Mon. Tue. Wed. Thurs. Fri. Sat.
Calif. Penn. Tenn. Tex. tex. Wash. wash. Miss. miss. Mass. mass. Ill. ill. Pa. pa. La. la. del. Del.
no. 5, No.5, nos. 3 and 4, no. five, fig. 5, figs. 2, pp. 7, p. 7, art. 3, vol. 3, sec. 4, ca. 1900, op. 9
U.S. and U.S.A. and u.k. J.R.R. Tolkien, Ph.D. ph.d. M.D. R.I.P. A.b.C.D. ab.c. a.bc.
plan b. Then a dog, type A. The car, plan b. I see, plan c. it, vitamin B. 12, x. y. z.
pty. ltd. PTY. Pty. mfg. Mfg. MFG. mtg. approx. dept. est. ext. tel. alt. sq. ft. lbs. oz.
1,000 1,000,000 1.000 1,00 1,2,3 0.5 .5 ,5 5. -5 +5 -5.5 --5 +-5 a+5 a-5 5-6 1..2
1/2 2/3 11/2 1/2/3 3/4-inch 10/12/2013 10-12-13 2013-10-12 24/7 1/x x/1 12345/6
3:30 12:30:45 1:2:3 12: :30 ,3:30 -3:30 2:1 score; level:05
1st 2nd 3rd 10th 21st-century 5x 2x4 x10 10x10 5kHz 3.5kHz 100Hz 16bit 44.1k
50% 5.5% %5 10 % $5.00 5$ $ 5 US$5 A$5 HK$ a$ R$ £6 €7 ¥8 5¢ 6£ #5 $-5 -$5 $5-10
½ cup, 1½, 5 ½, ¼ ¾ ⅓ ⅔ ⅛ 2² 3³ x₂ 10⁵ ¹ №5 5° 20°C 20℃ ±3 5×5 6÷2 ≈ ≤ ≥ ∞ √2 µm
555.123.4567 555-123-4567 123-4567 1-800-555-1234 +1-555-123-4567 5551234567 192.168.0.1
and/or he/she w/o w/ dog/cat a/b/c a/b/c/d dog/ cat /dog /usr/bin a//b a\b c:\dir a\/b
http://x.com https://a.b/c?d=e&f=g HTTP://X.COM http://x www.x.com www.x www. x.com x.com/y x.org/abc/
foo.bar foo.bar. file.wav my_file.wav dog.mp3 5.wav 5.x 5.mp3 x-5.wav a.tar.gz README.txt.
foo@bar.com foo@bar foo@bar.com, foo@bar.com: foo@bar.com. a@ @user @user_1 @1 @a.b user@
#tag #tag1 #1 ##a # a C# C# F# c# A# f# J# C++ c++ g++ C+ A+B a+b A+B+C
AT&T at&t R&B r&b A&P AT&T's B&B a&b a & b Q&A. rock&roll Rhythm&Blues
&amp; &lt; &gt; &quot; &apos; &nbsp; &mdash; &ndash; &hellip; &copy; caf&eacute; &#39; x&amp;y &x; AT&amp;T
<b>bold</b> <br/> </p> <dog> <a.b> <1> < dog > <3 a<b>c x<y <<a>> <!x> <?x?> ->
:) :-) :( ;) ;-) :D :-D :P :p =) =D :] :[ :| :@ :{ :} :/ :\ :3 :0 :o :O 8) B) xD <3 >:( :'( :))
dog:)dog :-)dog x:) a:p a;d a=p 5:p :Dog :dog =dog (: (-: D: :o) ;-
^_^ -_- (^_^) (^^) (-_-) (^.^) ^^ ^-^ o_o O.O T_T (o_o) *_* =.= ._. >_< ~_~
a_b a_b_c a__b _a a_ _ __ ___ _dog_ a_1 1_2 a_b-c a-b_c a.b_c
* ** *** *dog* dog* 5*5 ~5 5~6 ~~ ^ 10^5 | || a|b \ \\ = == a=b => + ++ += - _ ` ´ ¨ ¬ ¦ § ¶ © ® ™ †
& && @ @@ # ## ### % %% < << > >> <= >= <- --> <-- !! !? ; ;; : :: , ,, . /
naïve's café's don't-go he'll-go dog's/cat's it'sx it's'nt that's'll n't 's 'll 're 'd 'm 've 't
X'yz T'is N'Sync n'syn I'xx k'ung h'all fo'c'sle t'other s'pose x'y d'a'b d'1a o'1
A DOG BARKS. THE CAT'S MEOW ISN'T LOUD, AND U.S. MR. SMITH CAN'T HEAR
ein Hund bellt, während es regnet; ein Hündchen jault über Straßen
un chien aboie, l'oiseau chante; c'est l'été, aujourd'hui, qu'il pleut
un perro ladra ¡muy fuerte! ¿verdad? mañana, señor
собака лает, а потом идёт дождь. Кошка мяукает!
σκύλος γαβγίζει, ΣΚΥΛΟΣ ΓΑΒΓΊΖΕΙ ο σκύλος· ναι;
狗叫，然后下雨。 狗叫 了！「猫」 『鳥』、犬が吠える。 犬 カ・キ
개가 짖는다. 고양이가 운다
كلب ينبح، ثم تمطر؟ ١٢٣ ٣٫٥
כלב נובח, ואז יורד גשם ״ציטוט״
कुत्ता भौंकता है। बिल्ली म्याऊँ करती है॥
สุนัขเห่า แมวร้อง ๑๒๓
a dog 🐶 barks 😀😀 loudly❤️ ☺ ✓ ★ ♪ ♫ → ← ⇒ • · ● ■ ▲ ☎ ⚠️ ‼ ⁇ № ℓ ™
x😀y a👍🏽b 👨‍👩‍👧 🇩🇪 𝒳 𠀀 ﬁne ﬂy ﬀ Ⅷ ⅷ ① ⓐ ㈱ ㎏
a b a b a　b a b　c soft­hyphen zero​width no‑break‐hyphen ﻿bom ⁠joiner
é é A̧ ñ Å ö ǆ ǅ İstanbul ıI ŉ ẞ ſ ʼn ʻokina Hawaiʻi
"quotes", 'more', “even ‘more’”, ‘“deep”’, „low‟, ‚single‛ ″5′ 6' 2" 5'10" 5’10”
full-width ＡＢＣ １２３ ！ ？ （ ） ， ． ： ； ＂ ＇ ～ ＄ ￥ ￡
The dog barks.The cat meows.Then silence.  Two  spaces   three.
  leading and trailing spaces  
tab	separated	words and a    run of spaces
a
,
!
?!
'
"
''
()
:)
1
-5
é
狗
a dog barks a dog barks a dog barks a dog barks a dog barks a dog barks a dog barks a dog barks a dog barks a dog barks
barking barking barking barking barking barking barking barking barking barking
(mumbling) Someone's - uh - talking [inaudible]; "hello, hello?" ... *click*
Birds chirp, insects buzz and, in the distance, a car (or truck?) passes by at ~50 km/h
A woman says: "Let's go!", then a door slams & footsteps fade away...
Loud static/white noise w/ intermittent beeps @ 1kHz, 2kHz & 4kHz
Rain falls on a roof; thunder rumbles -- then, after 10-15 secs., it stops.
A 4/4 beat at 120bpm in C# minor, played on a 12-string guitar (ca. 1970)
Someone types on a PC/Mac keyboard & clicks a mouse 3x...
An F-16 flies by; the crowd goes "Ooooh!" and "Aaaah!!"
Dr. Smith's dog doesn't bark at 5 p.m., but it's howling at 6:30 a.m.
Engine revs: vroom-vroom!!! (V8, approx. 5,000 rpm)
water drips: drip...drip...drip...
a man says 'I don't know' and laughs - ha ha ha
Music plays (hip-hop/R&B) while people're clappin' their hands
ding-dong, tick-tock, ha-ha, choo-choo: all onomatopoeia
"""[1:-1].split("\n")
