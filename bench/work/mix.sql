-- bench/work/mix.sql: a table, an index, joins and groups, in memory.
create table item (id integer primary key, kind integer, name text, price real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 12000)
    insert into item select i, i * 7919 % 97, 'item ' || (i * 31 % 1009), i * 0.25 from n;
create index item_kind on item(kind, price);
update item set price = price + 1 where kind % 3 = 0;
select kind, count(*), round(sum(price), 2), min(name), max(name) from item group by kind order by kind limit 10;
select count(*), sum(a.id + b.id) from item a join item b on a.kind = b.kind and a.id < b.id where a.kind < 4;
delete from item where id % 5 = 0;
select count(*), sum(length(name)) from item where name like '%7%';
